"""A conditional GAN's package: a label in every function that needs one, and served as asked."""

import numpy as np
import pytest

from service.contract import Role
from service.engine import open_engine
from service.queries import Call, Inpaint, Interpolate, Reconstruct, Sample, SeedPoint
from service.settings import Settings
from tests.training.untrained_gans import published, untrained
from training.export import session
from training.gan_config import GanConfig
from training.gan_evaluation import sample
from training.gan_export import class_names, gan_functions
from training.inpainting import fill
from training.masks import central_square
from training.networks import Shape
from training.package import Package

SHAPE = Shape(latent=6, width=8, classes=10, labelled=True)
CONFIG = GanConfig.model_validate(
    {
        "name": "told",
        "kind": "gan",
        "data": {"name": "mnist"},
        "model": {"latent": 6, "width": 8, "classes": 10, "generator_labels": "concatenation"},
        "inpaint": {"steps": 2},
    }
)
IMAGES = np.random.default_rng(0).random((6, 1, 28, 28), np.float32)


@pytest.fixture(scope="module")
def functions():
    made, worst = gan_functions(untrained(SHAPE), CONFIG)
    assert worst < 1e-5
    return made


@pytest.fixture(scope="module")
def package(functions, tmp_path_factory) -> Package:
    store = tmp_path_factory.mktemp("store")
    return published(store, functions, name="told", shape=SHAPE, inpaint_steps=2)


async def served(package: Package, *queries):
    """What the service answers, one query after another."""
    store = package.directory.parents[1]
    engine = await open_engine(Settings(models_store=store, device="cpu"))
    model = engine.registry.get("told")
    answers = [await engine.run(model, query, Call.lasting(30)) for query in queries]
    await engine.stop()
    return answers


def test_every_function_that_makes_an_image_is_told_the_class(functions):
    assert functions["generate"].inputs[1].role is Role.LABEL
    assert [t.role for t in functions["encode"].outputs] == [Role.HIDDEN, Role.LABEL]
    states = [t for t in functions["latent_step"].inputs if t.role is Role.STATE]
    assert [(t.name, t.dtype) for t in states][-1] == ("label", "int64")
    assert {t.name for t in functions["latent_readout"].inputs} == {"z", "label"}


@pytest.mark.parametrize("name", ["generate", "encode", "latent_start", "latent_step"])
def test_a_row_has_the_same_bytes_in_any_batch(functions, name):
    function, rng = functions[name], np.random.default_rng(1)
    tensors = {
        t.name: (np.arange(8) % 10 if t.dtype == "int64" else rng.random((8, *t.row_shape))).astype(
            t.dtype
        )
        for t in function.inputs
    }
    names, runtime = [t.name for t in function.outputs], session(function.graph)
    whole = runtime.run(names, tensors)
    for rows in (1, 3, 4):
        some = runtime.run(names, {k: v[:rows] for k, v in tensors.items()})
        for part, all_rows in zip(some, whole, strict=True):
            assert part.tobytes() == all_rows[:rows].tobytes(), rows


def test_no_step_changes_the_label(functions):
    runtime, rng = session(functions["latent_step"].graph), np.random.default_rng(1)
    inputs = {
        t.name: np.array([3, 7], np.int64)
        if t.name == "label"
        else rng.random((2, *t.row_shape)).astype(np.float32)
        for t in functions["latent_step"].inputs
    }
    assert runtime.run(["next_label"], inputs)[0].tolist() == [3, 7]


async def test_the_service_draws_what_the_evaluation_draws(package):
    (drawn, asked) = await served(package, Sample(n=5, seed=3), Sample(n=5, seed=3, labels=(7,)))
    ours = sample(package, n=5, seed=3)
    assert np.allclose(drawn.samples, ours.images, atol=1e-6)
    sevens = sample(package, n=5, seed=3, labels=np.full(5, 7))
    assert np.allclose(asked.samples, sevens.images, atol=1e-6)
    assert not np.allclose(asked.samples, drawn.samples, atol=1e-4)


async def test_reconstruction_is_of_the_class_that_the_encoder_reads(package):
    (answer,) = await served(package, Reconstruct(images=IMAGES))
    read = package.run("encode", x=IMAGES)
    expected = package.run("generate", z=read["z"], label=read["label"])["x"]
    assert np.allclose(answer.images, expected, atol=1e-6)


async def test_a_path_keeps_its_class(package):
    points = (SeedPoint(seed=1), SeedPoint(seed=2))
    (path, other) = await served(
        package,
        Interpolate(points=points, frames=3, labels=(4,)),
        Interpolate(points=points, frames=3, labels=(5,)),
    )
    four = package.run("generate", z=path.latents, label=np.full(3, 4))["x"]
    assert np.allclose(path.frames, four, atol=1e-6)
    assert not np.allclose(path.frames, other.frames, atol=1e-4)


async def test_the_service_fills_holes_as_the_evaluation_does(package):
    mask = central_square(side=28).numpy()
    query = Inpaint(images=IMAGES[:2], mask=mask, n=1, seed=1)
    (answer,) = await served(package, query)
    ours = fill(package, IMAGES[:2], mask, seed=1, steps=2)
    assert np.allclose(answer.samples[:, 0], ours, atol=1e-5)


def test_classes_have_the_names_that_people_know():
    assert class_names("cifar10", 10)[3] == "cat"
    assert class_names("cifar10", 3) == ("0", "1", "2")
    assert class_names("mine", 2) == ("0", "1")
