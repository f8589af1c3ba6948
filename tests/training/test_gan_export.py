"""A GAN's package: every function there, in its role, and a row the same bytes in any batch."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from service.contract import Role
from tests.training.untrained_gans import published, untrained
from training.export import session
from training.gan_config import GanConfig
from training.gan_evaluation import sample
from training.gan_export import gan_functions
from training.graph_file import LARGE
from training.inpainting import (
    fill,
    hole_error,
    inpainting_rows,
    mean_image_filling,
    nearest_neighbour_filling,
)
from training.masks import central_square
from training.networks import Shape
from training.package import Package

SHAPE = Shape(latent=16, width=8, classes=10)
CONFIG = GanConfig.model_validate(
    {
        "name": "tiny",
        "kind": "gan",
        "data": {"name": "mnist"},
        "inpaint": {"realism": 0.1, "steps": 3},
    }
)
ROWS = 32
FLOAT = onnx.TensorProto.FLOAT
STORE = Path(__file__).parents[2] / "models_store"


@pytest.fixture(scope="module")
def functions():
    made, worst = gan_functions(untrained(SHAPE), CONFIG)
    assert worst < 1e-5
    return made


@pytest.fixture(scope="module")
def package(functions, tmp_path_factory) -> Package:
    store = tmp_path_factory.mktemp("store")
    return published(store, functions, name="tiny", shape=SHAPE, inpaint_steps=3)


@pytest.mark.parametrize("name", ["mnist-dcgan", "mnist-cgan", "cifar10-gan"])
def test_published_graphs_keep_their_large_weights_in_sixteen_bits(name):
    for file in (STORE / name / "1").glob("*.onnx"):
        weights = onnx.load(file).graph.initializer
        wide = [t.name for t in weights if t.data_type == FLOAT and np.prod(t.dims) >= LARGE]
        assert not wide, file.name


def feed(function, *, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    tensors = {}
    for t in function.inputs:
        shape = (ROWS, *t.row_shape)
        normal = t.role in {Role.LATENT, Role.NOISE, Role.STATE} and t.name != "v"
        values = rng.standard_normal(shape) if normal else rng.random(shape)
        tensors[t.name] = values.astype(np.float32)
    if "t" in tensors:
        tensors["t"] = np.arange(ROWS, dtype=np.float32)[:, None]
    if "mask" in tensors:
        tensors["mask"] = (tensors["mask"] < 0.5).astype(np.float32)
    return tensors


def test_the_package_can_do_what_a_gan_is_asked_for(package):
    assert set(package.manifest.capabilities) >= {
        "sample",
        "interpolate",
        "inpaint",
        "encode",
        "reconstruct",
    }
    step = package.manifest.functions["latent_step"]
    assert (step.kind, step.start, step.readout) == ("step", "latent_start", "latent_readout")
    assert len(step.state_pairs) == 4


def test_the_readout_shares_the_generators_file(package):
    functions = package.manifest.functions
    assert functions["latent_readout"].file == functions["generate"].file
    assert functions["latent_readout"].input(Role.STATE).name == "z"


@pytest.mark.parametrize("name", ["generate", "encode", "score", "latent_start", "latent_step"])
def test_a_row_has_the_same_bytes_in_any_batch_and_with_any_number_of_threads(functions, name):
    function = functions[name]
    tensors = feed(function)
    names = [t.name for t in function.outputs]
    whole = session(function.graph).run(names, tensors)
    for threads in (1, 2):
        runtime = session(function.graph, threads=threads)
        for rows in (1, 2, 3, 4, 5, 7, 8, 16, 32):
            parts = [
                runtime.run(names, {k: v[i : i + rows] for k, v in tensors.items()})
                for i in range(0, ROWS, rows)
            ]
            for j, output in enumerate(names):
                joined = np.concatenate([part[j] for part in parts])
                assert joined.tobytes() == whole[j].tobytes(), (output, threads, rows)


def test_a_sample_does_not_depend_on_how_many_are_asked_for(package):
    many, few = (sample(package, n=n, seed=3, batch=b).images for n, b in ((11, 250), (4, 3)))
    assert many[:4].tobytes() == few.tobytes()
    assert sample(package, n=1, seed=4).images.tobytes() != few[:1].tobytes()


def test_filling_keeps_known_pixels_and_differs_between_fillings(package):
    images = np.random.default_rng(5).random((3, 1, 28, 28), np.float32)
    mask = central_square(side=28).numpy()
    first, second = (fill(package, images, mask, seed=1, steps=2, filling=i) for i in (0, 1))
    outside = np.broadcast_to(mask == 0, images.shape)
    assert np.array_equal(first[outside], images[outside])
    assert not np.array_equal(first, second)
    other = np.where(mask > 0, np.float32(0.9), images)
    assert np.array_equal(fill(package, other, mask, seed=1, steps=2)[~outside], first[~outside])


def test_a_sheet_shows_the_image_the_hole_and_the_fillings(package):
    images = np.random.default_rng(5).random((2, 1, 28, 28), np.float32)
    rows = inpainting_rows(package, images, steps=1, seed=1, fillings=3)
    assert rows.shape == (2 * 5, 1, 28, 28)
    assert np.array_equal(rows[0], images[0])
    assert np.array_equal(rows[5], images[1])


def test_the_baselines_fill_with_the_mean_and_with_the_nearest():
    train = np.stack([np.zeros((1, 28, 28)), np.ones((1, 28, 28))]).astype(np.float32)
    mask = central_square(side=28).numpy()
    image = np.full((1, 1, 28, 28), 0.9, np.float32)
    mean = mean_image_filling(image, mask, train)
    nearest = nearest_neighbour_filling(image, mask, train)
    assert mean[0, 0, 14, 14] == 0.5
    assert nearest[0, 0, 14, 14] == 1.0
    assert mean[0, 0, 0, 0] == nearest[0, 0, 0, 0] == np.float32(0.9)
    assert hole_error(nearest, image, mask) == pytest.approx(0.01, rel=1e-3)
