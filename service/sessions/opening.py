"""From verified bytes to a session: the runtime by the file's format, the device, and plan B.

bytes, FunctionSpec ──► TorchScript, where it is allowed
                    ──► ONNX on the GPU, where the provider loads; else on the CPU
"""

from __future__ import annotations

from dataclasses import dataclass

from service.contract import FunctionSpec, PackageError
from service.domain.arrays import Arrays
from service.sessions import Session
from service.sessions.cuda import cuda_loads, cuda_session
from service.sessions.devices import CPU, cuda_is_built_in
from service.sessions.onnx import OnnxSession


@dataclass(frozen=True)
class Runtimes:
    """What an operator lets sessions have.

    Attributes:
        threads: inside one call.
        memory_limit_mib: of the GPU, for one function's arena; 0: no limit.
        allow_torchscript: whether TorchScript, which is a program, may be loaded.
    """

    threads: int = 1
    memory_limit_mib: int = 0
    allow_torchscript: bool = False


def open_session(
    content: bytes, spec: FunctionSpec, *, device: str, example: Arrays, runtimes: Runtimes
) -> Session:
    """Open the graph of a function whose digest has been checked.

    Args:
        content: its file.
        spec: what the manifest says of it.
        device: `cpu` or `cuda:N`; where ONNX Runtime cannot use the GPU, it runs on the CPU.
        example: two or more rows of inputs, for runtimes whose graphs have no typed signature.
        runtimes: what the operator allows.

    Raises:
        PackageError: the runtime refuses the graph, or the operator refuses the runtime.
    """
    if spec.format == "torchscript":
        return _torchscript(content, spec, device=device, example=example, runtimes=runtimes)
    if device == CPU or not cuda_is_built_in() or not cuda_loads(device):
        return OnnxSession(content, threads=runtimes.threads)
    return cuda_session(
        content,
        device=device,
        threads=runtimes.threads,
        memory_limit_mib=runtimes.memory_limit_mib,
    )


def _torchscript(
    content: bytes, spec: FunctionSpec, *, device: str, example: Arrays, runtimes: Runtimes
) -> Session:
    if not runtimes.allow_torchscript:
        raise PackageError(
            f"{spec.file} is TorchScript, a program that can read and write files as it is loaded: "
            "where you trust its origin, set REVERIE_ALLOW_TORCHSCRIPT=true"
        )
    try:
        from service.sessions.torchscript import TorchScriptSession  # noqa: PLC0415  needs torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise PackageError(
            f"{spec.file} is TorchScript, which needs torch: install it beside the service "
            "(pip install torch), or export the function as ONNX"
        ) from None
    return TorchScriptSession(
        content, spec, device=device, example=example, threads=runtimes.threads
    )
