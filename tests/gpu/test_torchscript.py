"""TorchScript on a GPU: one CUDA graph for each padded batch size, with the bytes of plain runs."""

import numpy as np
import pytest
import torch

from service.invariance import random_rows
from service.sessions.torchscript import TorchScriptSession
from tests.sessions.scripted import spec_of, tiny_script
from training.export import fold_batch_norm, to_torchscript
from training.networks import Generator, Shape, plain, seeded


def session(content, spec, device):
    return TorchScriptSession(content, spec, device=device, example=random_rows(spec, 2), threads=1)


@pytest.fixture(scope="module")
def convolutional():
    """A DCGAN generator of the published size, untrained."""
    made = seeded(lambda: Generator(Shape()), seed=0).eval()
    module = plain(fold_batch_norm(made))
    content = to_torchscript(module, {"z": torch.zeros(2, Shape().latent)})
    tiny = spec_of(content)
    z, x = tiny.inputs[0], tiny.outputs[0]
    return content, tiny.model_copy(
        update={
            "inputs": (z.model_copy(update={"shape": ("n", Shape().latent)}),),
            "outputs": (x.model_copy(update={"shape": ("n", 1, 28, 28)}),),
        }
    )


@pytest.fixture(params=["tiny", "convolutional"])
def script(request):
    if request.param == "convolutional":
        return request.getfixturevalue("convolutional")
    content = tiny_script()
    return content, spec_of(content)


def test_recorded_runs_give_the_bytes_of_plain_ones(torch_gpu, script):
    content, spec = script
    recorded, eager = session(content, spec, torch_gpu), session(content, spec, torch_gpu)
    eager._records = False
    for rows in (1, 4, 16, 4, 1):
        inputs = random_rows(spec, rows)
        expected, found = (s.run(("x",), inputs)["x"] for s in (eager, recorded))
        assert found.tobytes() == expected.tobytes()
    assert recorded._records
    assert sorted(recorded._recordings) == [1, 2, 4, 16]  # 2: the trial


def test_rows_between_two_sizes_are_padded(torch_gpu, script):
    content, spec = script
    made, four = session(content, spec, torch_gpu), random_rows(spec, 4)
    three = {name: array[:3] for name, array in four.items()}
    whole = made.run(("x",), four)["x"]
    assert made.run(("x",), three)["x"].tobytes() == whole[:3].tobytes()


def test_the_gpus_pixels_are_the_cpus_up_to_rounding(torch_gpu, script):
    content, spec = script
    inputs = random_rows(spec, 8)
    ours = session(content, spec, torch_gpu).run(("x",), inputs)["x"]
    theirs = session(content, spec, "cpu").run(("x",), inputs)["x"]
    assert np.abs(ours - theirs).max() < 1e-5


def test_answers_are_the_callers_own(torch_gpu, script):
    content, spec = script
    made = session(content, spec, torch_gpu)
    first = made.run(("x",), random_rows(spec, 4))["x"]
    kept = first.copy()
    other = {"z": random_rows(spec, 4)["z"] + 1}
    made.run(("x",), other)
    assert first.tobytes() == kept.tobytes()
