"""Exact chains are the same bytes on the CPU and on a GPU."""

import numpy as np
import pytest

from service.engine import open_engine
from service.queries import Call, Inpaint, Sample
from service.sessions.cuda import cuda_session
from service.sessions.onnx import OnnxSession
from service.settings import Settings
from tests.sessions.steps import exported, packaged, sixteen_bit_rbm, tiny_dbm

SWEEPS, CHUNK = 1000, 16
SIZES = (1, 3, 64, 256)
HOLE = np.zeros((1, 28, 28), np.float32)
HOLE[:, 7:21, 7:21] = 1


@pytest.fixture(scope="module", params=["mnist-rbm", "tiny-dbm", "sixteen-bit"])
def step(request, models):
    if request.param == "mnist-rbm":
        return packaged(models / "mnist-rbm/2", "sweep")
    return exported(tiny_dbm() if request.param == "tiny-dbm" else sixteen_bit_rbm(), "sweep")


def chain(session, step, rows, sweeps):
    """The states after each chunk of sweeps, with clamps and at several temperatures."""
    inputs, found = step.start(rows), []
    for begun in range(0, sweeps, CHUNK):
        drawn = step.noises(rows, min(CHUNK, sweeps - begun), seed=begun)
        states = session.iterate(step.feedback, inputs, drawn)
        inputs |= {old: states[new] for old, new in step.feedback.items()}
        found.append({name: array.tobytes() for name, array in states.items()})
    return found


@pytest.mark.parametrize("rows", SIZES)
def test_a_thousand_sweeps_are_the_same_bytes_on_both(gpu, step, rows):
    sweeps = SWEEPS if rows < 256 else 100
    ours = cuda_session(step.content, device=gpu, threads=1)
    theirs = OnnxSession(step.content, threads=1)
    assert chain(ours, step, rows, sweeps) == chain(theirs, step, rows, sweeps)


def test_every_product_of_a_sweep_has_a_kernel_and_is_recorded(gpu, step):
    session = cuda_session(step.content, device=gpu, threads=1)
    session.iterate(step.feedback, step.start(8), step.noises(8, 3))
    assert session.records


def test_sweeps_one_by_one_are_sweeps_in_one_call(gpu, step):
    session = cuda_session(step.content, device=gpu, threads=1)
    inputs, drawn = step.start(5), step.noises(5, 7)
    at_once = session.iterate(step.feedback, inputs, drawn)
    for noise in drawn:
        states = session.run(tuple(step.feedback.values()), inputs | noise)
        inputs |= {old: states[new] for old, new in step.feedback.items()}
    assert all(states[name].tobytes() == at_once[name].tobytes() for name in states)


@pytest.mark.parametrize("name", ["start", "readout"])
def test_where_chains_begin_and_end_is_exact_too(gpu, models, name):
    step = packaged(models / "mnist-rbm/2", name)
    ours = cuda_session(step.content, device=gpu, threads=1)
    theirs = OnnxSession(step.content, threads=1)
    for rows in SIZES:
        inputs = step.start(rows) | step.noises(rows, 1)[0]
        expected, found = (s.run(step.outputs, inputs) for s in (theirs, ours))
        assert all(found[n].tobytes() == expected[n].tobytes() for n in step.outputs)


async def test_a_seed_is_the_same_samples_through_the_whole_service(gpu, models):
    """Among them inpainting, whose clamps stay on the GPU from sweep to sweep."""
    answers = []
    for device in ("cpu", gpu):
        engine = await open_engine(Settings(models_store=models, device=device), only="mnist-rbm")
        try:
            model, call = engine.registry.get("mnist-rbm"), Call.lasting(100)
            assert model.device == device
            fresh = await engine.run(model, Sample(n=7, seed=11, burn_in=200), call)
            filled = await engine.run(
                model, Inpaint(images=fresh.samples, mask=HOLE, n=2, seed=5), call
            )
            answers.append((fresh.samples.tobytes(), filled.samples.tobytes()))
        finally:
            await engine.stop()
    assert answers[0] == answers[1]
