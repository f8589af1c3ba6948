"""Tests that need an NVIDIA GPU: skipped elsewhere with the reason; with `make gpu` they must run.

`REVERIE_GPU_REQUIRED=1`, which `make gpu` sets, makes a skip for want of a GPU the end of the run,
and a failure.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from service.sessions.cuda import cuda_loads
from service.sessions.devices import count_gpus, cuda_is_built_in

REQUIRED = os.environ.get("REVERIE_GPU_REQUIRED") == "1"
MODELS = Path(__file__).parents[2] / "models_store"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.gpu)


def unless(there: bool, reason: str) -> None:
    """Go on, or skip for this reason; where the GPU tests must run, end them all with it."""
    if there:
        return
    if REQUIRED:
        pytest.exit(f"the GPU tests must run here, but {reason}", returncode=1)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def gpu() -> str:
    """A GPU that ONNX Runtime computes on."""
    unless(count_gpus() > 0, "no NVIDIA driver shows a GPU")
    unless(cuda_is_built_in(), "this onnxruntime has no CUDA provider: install onnxruntime-gpu")
    unless(cuda_loads("cuda:0"), "onnxruntime's CUDA provider does not load")
    return "cuda:0"


@pytest.fixture(scope="session")
def torch_gpu() -> str:
    """A GPU that torch computes on."""
    unless(count_gpus() > 0, "no NVIDIA driver shows a GPU")
    unless(torch.cuda.is_available(), "this torch cannot use the GPU: install its build for CUDA")
    return "cuda:0"


@pytest.fixture(scope="session")
def two_gpus(gpu: str) -> tuple[str, str]:
    """Two GPUs; one is no failure."""
    if count_gpus() < 2:
        pytest.skip("this machine has one GPU")
    return gpu, "cuda:1"


@pytest.fixture(scope="session")
def models() -> Path:
    """The published packages."""
    return MODELS
