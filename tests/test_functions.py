"""Opening functions on devices: spread, measured, warmed, and brought back to the CPU."""

import shutil

import numpy as np
import pytest
from structlog.testing import capture_logs

from service import functions, loading
from service.engine import open_engine
from service.loading import open_model
from service.queries import Call, Sample
from service.sessions.onnx import OnnxSession
from service.settings import Settings
from tests.packages import write_tiny_gan
from tests.sessions.on_cpu import Faulty, resident

GPUS = ("cuda:0", "cuda:1")


class Opened:
    """Opens sessions that say that they are on a GPU; their bound runs may fail."""

    def __init__(self, fails=lambda rows, recording: False):
        self.fails = fails
        self.devices = []

    def __call__(self, content, spec, *, device, example, runtimes):
        self.devices.append(device)
        if device == "cpu":
            return OnnxSession(content, threads=1)
        session = resident(content, lambda s, _: Faulty(s, self.fails))
        session.device = device
        session.device_of_buffers = "cpu"
        return session


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs, as far as loading is concerned."""

    def pretend(opened: Opened, devices=GPUS) -> Opened:
        monkeypatch.setattr(functions, "open_session", opened)
        monkeypatch.setattr(loading, "choose_devices", lambda asked: devices)
        monkeypatch.setattr("service.sessions.resident.Buffers", on_the_cpu)
        return opened

    from service.sessions.buffers import Buffers

    def on_the_cpu(*given, device, **named):
        return Buffers(*given, device="cpu", **named)

    return pretend


def settings(store, **more):
    return Settings(models_store=store, device="auto", batch_rows=8, chain_slots=8, **more)


def test_models_are_spread_over_the_gpus(store, gpus):
    write_tiny_gan(store, name="a-third")
    gpus(Opened())
    found = {
        name: open_model(store / name / "1", settings(store)).device
        for name in ("a-third", "tiny-gan", "tiny-rbm")
    }
    assert found == {"a-third": "cuda:0", "tiny-gan": "cuda:1", "tiny-rbm": "cuda:0"}


def test_versions_of_a_model_stay_on_one_gpu_and_names_alone_decide(store, gpus):
    shutil.copytree(store / "tiny-rbm/1", store / "tiny-rbm/2")
    manifest = store / "tiny-rbm/2/manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": 1', '"version": 2', 1))
    gpus(Opened())
    devices = {open_model(store / "tiny-rbm" / v / "", settings(store)).device for v in "12"}
    assert devices == {"cuda:1"}


async def test_a_model_answers_the_same_from_the_gpus_session(store, gpus):
    answers = []
    for opened in (None, Opened()):
        if opened:
            gpus(opened)
        engine = await open_engine(settings(store))
        try:
            for name in ("tiny-gan", "tiny-rbm"):
                model = engine.registry.get(name)
                found = await engine.run(model, Sample(n=5, seed=3), Call.lasting(30))
                answers.append((name, model.device, found.samples.tobytes()))
        finally:
            await engine.stop()
    (_, *cpu_gan), (_, *cpu_rbm), (_, *gpu_gan), (_, *gpu_rbm) = answers
    assert (cpu_gan[1], cpu_rbm[1]) == (gpu_gan[1], gpu_rbm[1])
    assert {cpu_gan[0], cpu_rbm[0]} == {"cpu"}
    assert {gpu_gan[0], gpu_rbm[0]} == set(GPUS)


def test_every_padded_size_has_run_before_the_first_caller_comes(store, gpus):
    sizes = set()
    gpus(Opened(lambda rows, recording: bool(sizes.add((rows, recording > 0)))))
    package = open_model(store / "tiny-rbm/1", settings(store))
    assert {rows for rows, recorded in sizes if recorded} == {1, 2, 4, 8}
    sweep = package.functions["sweep"]
    assert sweep.padding.sizes == ()  # exact: the session pads by itself
    assert sweep.session.records


def test_a_batch_that_finds_no_memory_makes_the_largest_batch_smaller(store, gpus):
    gpus(Opened(lambda rows, _: rows > 4))
    package = open_model(store / "tiny-gan/1", settings(store))
    assert package.device == "cuda:0"
    assert package.functions["generate"].padding.largest == 4
    assert package.functions["latent_step"].padding.largest == 4
    assert open_model(store / "tiny-rbm/1", settings(store)).functions["sweep"].padding.largest == 4


def test_a_function_that_the_gpu_cannot_run_goes_to_the_cpu_with_a_warning(store, gpus):
    opened = gpus(Opened(lambda rows, _: True))
    with capture_logs() as logs:
        package = open_model(store / "tiny-gan/1", settings(store))
    assert package.device == "cpu"
    assert opened.devices.count("cpu") == len(
        {f.sha256 for f in package.manifest.functions.values()}
    )
    fell = [line for line in logs if line["event"] == "function_fell_back"]
    assert {line["function"] for line in fell} >= {"generate", "encode"}
    assert all(line["using"] == "cpu" for line in fell)
    z = {"z": np.zeros((2, 4), np.float32)}
    assert package.functions["generate"].run(z)["x"].shape == (2, 1, 4, 4)


def test_iterating_a_loaded_function_is_running_it_again_and_again(store):
    package = open_model(store / "tiny-gan/1", settings(store))
    step = package.functions["latent_step"]
    inputs = {"z": np.ones((3, 4), np.float32), "x": np.zeros((3, 1, 4, 4), np.float32),
              "mask": np.zeros((3, 1, 4, 4), np.float32)}  # fmt: skip
    once = step.run(inputs)["next_z"]
    twice = step.run(inputs | {"z": once})["next_z"]
    assert step.iterate(inputs, [{}, {}])["next_z"].tobytes() == twice.tobytes()
