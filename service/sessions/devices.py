"""Which devices models run on: the GPUs that the driver shows, or the CPU.

auto | cpu | cuda | cuda:N[,cuda:M …] ──► ("cuda:0", "cuda:1", …) or ("cpu",) ──► one for each model

GPUs are counted by the driver's own library, which onnxruntime and torch need alike. Models are
placed in turn over the devices, by their names: one model lives on one device
(docs/decisions/0006-gpus.md).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache

import onnxruntime as ort
import structlog

log = structlog.get_logger(__name__)

CPU = "cpu"
_DRIVER = "libcuda.so.1"


@cache  # one warning a process, however many models there are
def choose_devices(asked: str) -> tuple[str, ...]:
    """The devices for a setting of auto, cpu, cuda or cuda:N,…; the CPU, with a warning, for none.

    `auto` and `cuda` take every GPU; `auto` says nothing on a machine without.
    """
    if asked == CPU:
        return (CPU,)
    gpus = count_gpus()
    everything = asked in {"auto", "cuda"}
    wanted = list(range(gpus)) if everything else [int(one[5:]) for one in asked.split(",")]
    found = tuple(f"cuda:{n}" for n in wanted if n < gpus) or (CPU,)
    problem = _problem(gpus, wanted, installed=cuda_is_built_in(), auto=asked == "auto")
    if problem:
        reason, remedy = problem
        log.warning(
            "device_unavailable", asked=asked, using=", ".join(found), reason=reason, remedy=remedy
        )
    return found


def place(name: str, names: Sequence[str], devices: Sequence[str]) -> str:
    """The device of the model called `name` among `names`: in turn, by the order of their names."""
    return devices[sorted(set(names)).index(name) % len(devices)]


def cuda_is_built_in() -> bool:
    """Whether this onnxruntime is the one for GPUs."""
    return "CUDAExecutionProvider" in ort.get_available_providers()


def count_gpus() -> int:
    """How many GPUs the NVIDIA driver shows to this process; 0 without a driver."""
    try:
        driver = ctypes.CDLL(_DRIVER)
        number = ctypes.c_int(0)
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(number)) != 0:
            return 0
    except (OSError, AttributeError):
        return 0
    return number.value


def _problem(
    gpus: int, wanted: Sequence[int], *, installed: bool, auto: bool
) -> tuple[str, str] | None:
    """What is in the way of what was asked for, and what to do about it."""
    cpu = "or set REVERIE_DEVICE=cpu"
    if not gpus:
        if auto and not installed:
            return None  # a machine without a GPU, and nobody asked for one
        return "no NVIDIA driver shows a GPU", f"check nvidia-smi, {cpu}"
    if not installed:
        if auto:
            return None
        return (
            "this onnxruntime has no CUDA provider, so ONNX models run on the CPU",
            f"install onnxruntime-gpu in place of onnxruntime (make serve does), {cpu}",
        )
    missing = [n for n in wanted if n >= gpus]
    if missing:
        last = f"cuda:{gpus - 1}"
        return f"there is no cuda:{missing[0]}", f"this machine has cuda:0 to {last}, {cpu}"
    return None
