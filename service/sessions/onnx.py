"""ONNX Runtime on the CPU: one InferenceSession for each distinct graph.

bytes ──► refuse external data ──► InferenceSession ──► run
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

from service.contract import PackageError
from service.domain.arrays import Arrays
from service.sessions import Session, Signature, TensorType
from service.sessions.onnx_file import has_external_data

RUNTIME = f"onnxruntime {ort.__version__}"

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(bool)": "bool",
}


class OnnxSession(Session):
    """One graph on the CPU."""

    runtime = RUNTIME
    device = "cpu"

    def __init__(self, content: bytes, *, threads: int) -> None:
        """Load a graph whose digest has been checked.

        Raises:
            PackageError: not an ONNX graph, or one that leads to other files.
        """
        self._session = open_graph(content, options(threads), ["CPUExecutionProvider"])

    def signature(self) -> Signature:
        """Inputs and outputs by name: dtype and shape as the graph declares them."""
        return signature_of(self._session)

    def run(self, outputs: tuple[str, ...], inputs: Arrays) -> Arrays:
        """The named outputs."""
        found = self._session.run(outputs, inputs)
        return dict(zip(outputs, (np.asarray(a) for a in found), strict=True))


def open_graph(
    content: bytes, chosen: ort.SessionOptions, providers: Sequence[Any]
) -> ort.InferenceSession:
    """Load a graph on the given providers, in that order, and on no other.

    Raises:
        PackageError: not an ONNX graph, one that leads to other files, or one that the runtime
            refuses.
    """
    try:
        external = has_external_data(content)
    except ValueError as error:
        raise PackageError(str(error)) from error
    if external:
        raise PackageError(
            "the graph keeps tensors in another file: export it with its weights inside"
        )
    try:
        return ort.InferenceSession(content, chosen, providers=providers, enable_fallback=0)
    except Exception as error:  # the runtime has no common root for its many errors
        raise PackageError(f"the runtime refuses the graph: {reason_of(error)}") from error


def options(threads: int) -> ort.SessionOptions:
    """Spinning is off: idle threads must not take the others' core."""
    chosen = ort.SessionOptions()
    chosen.intra_op_num_threads = threads
    chosen.inter_op_num_threads = 1
    chosen.log_severity_level = 3
    chosen.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return chosen


def signature_of(session: ort.InferenceSession) -> Signature:
    """Inputs and outputs by name: dtype and shape as the graph declares them."""
    return _types(session.get_inputs()), _types(session.get_outputs())


def reason_of(error: Exception) -> str:
    """The first line of the runtime's reason, without paths that may follow it."""
    text = str(error).strip().splitlines()
    reason = text[0] if text else type(error).__name__
    return reason.rpartition(" : ")[2][:200].replace("/", " ") or type(error).__name__


def _types(arguments: Sequence[Any]) -> dict[str, TensorType]:
    return {a.name: (_DTYPES.get(a.type, a.type), tuple(a.shape)) for a in arguments}
