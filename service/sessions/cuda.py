"""ONNX Runtime on a GPU: its provider, with the options that exact seeds need.

bytes ──► signed products ──► InferenceSession(CUDA, recorded where it can be) ──► ResidentSession
"""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import onnxruntime as ort
import structlog

from service.contract import PackageError
from service.sessions.devices import CPU
from service.sessions.onnx import open_graph, options, reason_of
from service.sessions.onnx_signed import with_signed_products
from service.sessions.resident import ResidentSession

log = structlog.get_logger(__name__)

_PROVIDER = "CUDAExecutionProvider"
_MIB = 2**20
# y = x + x of one float: opset 14, as onnx.helper writes it.
_TWICE = bytes.fromhex(
    "08083a350a0e0a01780a017812017922034164641201675a0f0a0178120a0a08080112040a02"
    "0801620f0a0179120a0a08080112040a02080142040a00100e"
)


@cache  # one answer, and one warning, a process
def cuda_loads(device: str) -> bool:
    """Whether ONNX Runtime can compute on `cuda:N`; tells the log why, where it cannot."""
    try:
        ort.preload_dlls()  # CUDA and cuDNN come as wheels, where the linker does not look
        session = _open(_TWICE, False, device=device, threads=1, memory_limit_mib=0)
        (found,) = session.run(["y"], {"x": np.ones(1, np.float32)})
        assert found[0] == 2
    except Exception as error:  # noqa: BLE001  whatever is missing, the CPU is there
        log.warning(
            "device_unavailable",
            asked=device,
            using=CPU,
            reason=reason_of(error),
            remedy="the runtime's own message is above: install onnxruntime-gpu[cuda,cudnn] and a "
            "driver for its version of CUDA, or set REVERIE_DEVICE=cpu",
        )
        return False
    return True


def cuda_session(
    content: bytes, *, device: str, threads: int, memory_limit_mib: int = 0, recording: bool = True
) -> ResidentSession:
    """A graph whose digest has been checked, on `cuda:N`.

    Args:
        content: the ONNX model.
        device: `cuda:N`.
        threads: for what runs on the CPU.
        memory_limit_mib: of the session's arena; 0: no limit.
        recording: whether runs become CUDA graphs, where they can.

    Raises:
        PackageError: not an ONNX graph, or one that leads to other files.
    """
    try:
        graph = with_signed_products(content)
    except ValueError as error:
        raise PackageError(str(error)) from error
    opened = partial(
        _open, graph.content, device=device, threads=threads, memory_limit_mib=memory_limit_mib
    )
    return ResidentSession(opened, device=device, narrow=graph.narrow, recording=recording)


def provider_options(device: str, *, recording: bool, memory_limit_mib: int) -> dict[str, str]:
    """What the CUDA provider is asked for.

    No TF32, whose products keep ten bits. Convolutions by cuDNN's heuristic: the exhaustive search
    times the candidates, so that two starts may choose two of them, whose sums differ in the last
    bits (onnxruntime#19822); and it times them anew for each batch size.
    """
    chosen = {
        "device_id": device.partition(":")[2] or "0",
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",
        "use_tf32": "0",
        "enable_cuda_graph": str(int(recording)),
    }
    if memory_limit_mib:
        chosen["gpu_mem_limit"] = str(memory_limit_mib * _MIB)
    return chosen


def _open(
    content: bytes,
    recording: bool,
    *,
    device: str,
    threads: int,
    memory_limit_mib: int,
) -> ort.InferenceSession:
    chosen = options(threads)
    chosen.use_deterministic_compute = True
    cuda = provider_options(device, recording=recording, memory_limit_mib=memory_limit_mib)
    session = open_graph(content, chosen, [(_PROVIDER, cuda), "CPUExecutionProvider"])
    if _PROVIDER not in session.get_providers():
        raise PackageError("onnxruntime's CUDA provider could not load its libraries")
    return session
