"""Functions of real numbers on a GPU: recorded or not, padded or not, in little memory."""

import asyncio

import numpy as np
import pytest

from service.batching import MapScheduler
from service.contract import read_manifest
from service.engine import open_engine
from service.invariance import random_rows
from service.loading import open_model
from service.queries import Call, Sample
from service.sessions.cuda import cuda_session
from service.sessions.devices import choose_devices, count_gpus
from service.sessions.onnx import OnnxSession
from service.settings import Settings
from tests.sessions.steps import packaged

PUBLISHED = [("mnist-dcgan", name) for name in
             ("generate", "encode", "score", "latent_start", "latent_step")] + [
    ("mnist-rbm", name) for name in ("encode", "decode", "score", "energy", "readout")
]  # fmt: skip


@pytest.mark.parametrize(("model", "name"), PUBLISHED)
def test_a_recorded_run_gives_the_bytes_of_a_plain_one(gpu, models, model, name):
    step = packaged(models / model / "1", name)
    ours = cuda_session(step.content, device=gpu, threads=1)
    plain = cuda_session(step.content, device=gpu, threads=1, recording=False)
    for rows in (1, 4, 16, 4, 1):
        inputs = random_rows(step.spec, rows)
        expected, found = (s.run(step.outputs, inputs) for s in (plain, ours))
        assert all(found[n].tobytes() == expected[n].tobytes() for n in step.outputs)
    assert not plain.records


@pytest.mark.parametrize("name", ["generate", "encode", "score"])
def test_convolutions_are_recorded(gpu, models, name):
    step = packaged(models / "mnist-dcgan/1", name)
    session = cuda_session(step.content, device=gpu, threads=1)
    session.run(step.outputs, random_rows(step.spec, 4))
    assert session.records


@pytest.mark.parametrize(("model", "name"), PUBLISHED)
def test_two_sessions_choose_the_same_algorithms(gpu, models, model, name):
    step = packaged(models / model / "1", name)
    inputs = random_rows(step.spec, 8)
    a, b = (
        cuda_session(step.content, device=gpu, threads=1).run(step.outputs, inputs)
        for _ in range(2)
    )
    assert all(a[n].tobytes() == b[n].tobytes() for n in step.outputs)


@pytest.mark.parametrize(("model", "name"), PUBLISHED)
def test_sums_are_of_whole_float32_and_not_of_tf32(gpu, models, model, name):
    """TF32 keeps ten bits of each factor: 5·10⁻⁴ off, where float32 is 10⁻⁶ off."""
    step = packaged(models / model / "1", name)
    inputs = random_rows(step.spec, 8)
    expected = OnnxSession(step.content, threads=1).run(step.outputs, inputs)
    found = cuda_session(step.content, device=gpu, threads=1).run(step.outputs, inputs)
    for output in step.outputs:
        scale = max(float(np.abs(expected[output]).max()), 1.0)
        assert float(np.abs(found[output] - expected[output]).max()) < 5e-5 * scale, output


@pytest.mark.parametrize("model", ["mnist-dcgan", "mnist-rbm"])
async def test_what_a_models_page_promises_of_seeds_holds_on_this_gpu(gpu, models, model):
    engine = await open_engine(Settings(models_store=models, device=gpu), only=model)
    try:
        loaded, call = engine.registry.get(model), Call.lasting(100)
        if "closely, not exactly" in loaded.seed_promise:
            pytest.skip(loaded.seed_promise)
        whole = await engine.run(loaded, Sample(n=33, seed=3, burn_in=None), call)
        companions = [Sample(n=n, seed=100 + n) for n in (1, 5, 19)]
        alone, *_ = await asyncio.gather(
            *(engine.run(loaded, query, call) for query in (Sample(n=9, seed=3), *companions))
        )
        assert alone.samples.tobytes() == whole.samples[:9].tobytes()
    finally:
        await engine.stop()


async def test_a_batch_too_large_for_the_arena_is_tried_smaller_and_every_caller_answered(
    gpu, models
):
    step = packaged(models / "mnist-dcgan/1", "generate")
    limited = cuda_session(step.content, device=gpu, threads=1, memory_limit_mib=64)
    sizes = []

    def run(inputs):
        sizes.append(len(inputs["z"]))
        return limited.run(step.outputs, inputs)

    scheduler = MapScheduler("generate", run, max_rows=8192, max_queue_rows=100_000)
    try:
        large, small = random_rows(step.spec, 8192), random_rows(step.spec, 8)
        call = Call.lasting(100)
        found, few = await asyncio.gather(
            scheduler.submit(large, call), scheduler.submit(small, call)
        )
    finally:
        await scheduler.close()
    assert {8192, 4096} <= set(sizes)  # it did not fit, and was halved
    cpu = OnnxSession(step.content, threads=1)
    first = {"z": large["z"][:8]}
    assert np.abs(found["x"][:8] - cpu.run(("x",), first)["x"]).max() < 1e-4
    assert np.abs(few["x"] - cpu.run(("x",), small)["x"]).max() < 1e-4


def test_a_package_keeps_its_batches_as_small_as_its_memory(gpu, models):
    ample = Settings(models_store=models, device=gpu, batch_rows=4096)
    scarce = ample.model_copy(update={"gpu_memory_limit_mib": 64})
    largest = [
        open_model(models / "mnist-dcgan/1", s).functions["generate"].padding.largest
        for s in (ample, scarce)
    ]
    assert largest[0] == 4096
    assert largest[1] < 4096


def test_a_gpu_that_is_not_there_gives_way_to_the_cpu(gpu, models):
    missing = f"cuda:{count_gpus()}"
    assert choose_devices(missing) == ("cpu",)
    package = open_model(models / "mnist-rbm/2", Settings(models_store=models, device=missing))
    assert package.device == "cpu"


def test_models_are_spread_over_two_gpus_and_answer_the_same(two_gpus, models):
    both = Settings(models_store=models, device=",".join(two_gpus))
    placed = {
        name: open_model(models / name / "1", both)
        for name in sorted({d.parent.name for d in models.glob("*/1")})
    }
    assert {package.device for package in placed.values()} == set(two_gpus)
    manifest = read_manifest(models / "mnist-dcgan/1")
    z = random_rows(manifest.functions["generate"], 4)
    content = (models / "mnist-dcgan/1/generate.onnx").read_bytes()
    a, b = (cuda_session(content, device=d, threads=1).run(("x",), z)["x"] for d in two_gpus)
    assert a.tobytes() == b.tobytes()
