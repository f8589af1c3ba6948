"""ONNX Runtime: one InferenceSession for each distinct graph.

bytes ──► refuse external data ──► InferenceSession(CPU | CUDA) ──► run
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
import structlog

from service.contract import PackageError
from service.domain.arrays import Arrays
from service.sessions import TensorType
from service.sessions.onnx_file import has_external_data

log = structlog.get_logger(__name__)

RUNTIME = f"onnxruntime {ort.__version__}"

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(bool)": "bool",
}


def choose_device(asked: str) -> str:
    """`cpu` or `cuda:N` for a setting of auto, cpu or cuda:N; falls back to cpu with a warning."""
    if asked == "cpu":
        return "cpu"
    available = "CUDAExecutionProvider" in ort.get_available_providers()
    if not available:
        if asked != "auto":
            log.warning(
                "device_unavailable",
                asked=asked,
                using="cpu",
                remedy="install onnxruntime-gpu and an NVIDIA driver, or set REVERIE_DEVICE=cpu",
            )
        return "cpu"
    ort.preload_dlls()  # CUDA and cuDNN come as wheels, where the linker does not look
    return "cuda:0" if asked in {"auto", "cuda"} else asked


class OnnxSession:
    """One graph on one device. Spinning is off: idle threads must not take the other's core."""

    def __init__(self, content: bytes, *, device: str, threads: int) -> None:
        """Load a graph whose digest has been checked.

        Raises:
            PackageError: not an ONNX graph, or one that leads to other files.
        """
        _refuse_external_data(content)
        try:
            self._session = ort.InferenceSession(
                content, _options(threads), providers=_providers(device)
            )
        except Exception as error:  # the runtime has no common root for its many errors
            raise PackageError(f"the runtime refuses the graph: {_first_line(error)}") from error
        on_gpu = "CUDAExecutionProvider" in self._session.get_providers()
        if device != "cpu" and not on_gpu:
            log.warning("device_fell_back", asked=device, using="cpu")
        self.device = device if on_gpu else "cpu"
        self.runtime = RUNTIME

    def signature(self) -> tuple[dict[str, TensorType], dict[str, TensorType]]:
        """Inputs and outputs by name: dtype and shape as the graph declares them."""
        return _types(self._session.get_inputs()), _types(self._session.get_outputs())

    def run(self, outputs: tuple[str, ...], inputs: Arrays) -> Arrays:
        """The named outputs."""
        found = self._session.run(outputs, inputs)
        return dict(zip(outputs, (np.asarray(a) for a in found), strict=True))


def _refuse_external_data(content: bytes) -> None:
    try:
        external = has_external_data(content)
    except ValueError as error:
        raise PackageError(str(error)) from error
    if external:
        raise PackageError(
            "the graph keeps tensors in another file: export it with its weights inside"
        )


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _providers(device: str) -> list[Any]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    cuda = {
        "device_id": device.partition(":")[2] or "0",
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": "0",
    }
    return [("CUDAExecutionProvider", cuda), "CPUExecutionProvider"]


def _types(arguments: Sequence[Any]) -> dict[str, TensorType]:
    return {a.name: (_DTYPES.get(a.type, a.type), tuple(a.shape)) for a in arguments}


def _first_line(error: Exception) -> str:
    """The runtime's reason, without paths that may follow it."""
    text = str(error).strip().splitlines()
    reason = text[0] if text else type(error).__name__
    return reason.rpartition(" : ")[2][:200].replace("/", " ") or type(error).__name__
