"""From bytes to a session: the runtime by the file, the device, and the way back to the CPU."""

import pytest
from structlog.testing import capture_logs

from service.contract import PackageError
from service.invariance import random_rows
from service.sessions import cuda, opening
from service.sessions.cuda import cuda_loads, provider_options
from service.sessions.devices import cuda_is_built_in
from service.sessions.onnx import OnnxSession
from service.sessions.opening import Runtimes, open_session
from tests.sessions.steps import packaged


@pytest.fixture
def step(tiny_store):
    return packaged(tiny_store / "tiny-rbm/1", "sweep")


@pytest.fixture
def no_cuda(monkeypatch):
    """onnxruntime says that it has CUDA, and has not: as with libraries that do not load."""
    if cuda_is_built_in():
        pytest.skip("this onnxruntime has CUDA")
    cuda_loads.cache_clear()
    monkeypatch.setattr(opening, "cuda_is_built_in", lambda: True)
    yield
    cuda_loads.cache_clear()


def opened(step, device):
    return open_session(
        step.content, step.spec, device=device, example={}, runtimes=Runtimes(threads=1)
    )


def test_onnx_on_the_cpu_is_the_plain_session(step):
    assert isinstance(opened(step, "cpu"), OnnxSession)


def test_a_provider_that_does_not_load_gives_way_to_the_cpu_with_one_clear_warning(step, no_cuda):
    with capture_logs() as logs:
        sessions = [opened(step, "cuda:0") for _ in range(3)]
    assert {session.device for session in sessions} == {"cpu"}
    (line,) = logs
    assert line["event"] == "device_unavailable"
    assert (line["asked"], line["using"]) == ("cuda:0", "cpu")
    assert line["reason"]
    assert "onnxruntime-gpu[cuda,cudnn]" in line["remedy"]
    inputs = random_rows(step.spec, 2)
    assert sessions[0].run(step.outputs, inputs)["next_h"].shape == (2, 6)


@pytest.mark.parametrize(("index", "limit"), [(0, 0), (3, 512)])
def test_the_provider_is_asked_for_exact_arithmetic_and_bounded_memory(index, limit):
    asked = provider_options(f"cuda:{index}", recording=True, memory_limit_mib=limit)
    assert asked["device_id"] == str(index)
    assert asked["use_tf32"] == "0"
    assert asked["cudnn_conv_algo_search"] != "EXHAUSTIVE"
    assert asked["arena_extend_strategy"] == "kSameAsRequested"
    assert asked["enable_cuda_graph"] == "1"
    assert asked.get("gpu_mem_limit") == (str(limit * 2**20) if limit else None)


def test_a_graph_goes_to_the_gpu_with_signed_products(step, monkeypatch):
    given = []
    monkeypatch.setattr(
        cuda, "_open", lambda content, recording, **_: given.append((content, recording)) or Graph()
    )
    session = cuda.cuda_session(step.content, device="cuda:1", threads=1)
    ((content, recording),) = given
    assert content != step.content
    assert recording
    assert session.device == "cuda:1"


class Graph:
    def get_inputs(self):
        return []


def test_bytes_that_are_no_graph_are_refused_on_any_device(step, no_cuda):
    for device in ("cpu", "cuda:0"):
        with pytest.raises(PackageError):
            open_session(b"\xff", step.spec, device=device, example={}, runtimes=Runtimes())
    with pytest.raises(PackageError):
        cuda.cuda_session(b"\xff", device="cuda:0", threads=1)
