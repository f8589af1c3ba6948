"""Packages from the training side: what is published can be opened, run and trusted."""

import io
import json

import numpy as np
import pytest
import torch

from service.contract import Defaults, ImageData, PackageError, Quality, Role, read_package
from tests.training.test_exact import machine
from training.boltzmann_graphs import rbm_functions
from training.card import ModelCard, Picture, duration, number, quality_markdown, write_card
from training.package import Package, Score, publish
from training.package_sweeps import inpaint, run_chains, sample
from training.quantised import quantise
from training.sheets import png_bytes, sheet

FIGURE = Quality(
    name="auroc", value=0.99, interval=(0.98, 1.0), protocol="a | b", command="reverie evaluate x"
)


def publish_tiny(store, **changes):
    functions = rbm_functions(
        quantise(machine(16, 6, scale=0.5), bits=8),
        base_bias=np.zeros(16, np.float32),
        shape=(1, 4, 4),
    )
    functions = dict(functions) | {"again": functions["decode"]}
    parts = {
        "name": "tiny",
        "version": 2,
        "family": "rbm",
        "description": "tiny",
        "data": ImageData(shape=(1, 4, 4)),
        "functions": functions,
        "defaults": Defaults(burn_in=3, inpaint_steps=2, truncation=None),
        "quality": [FIGURE],
        "provenance": {"seed": 1},
        "card": "# tiny",
        "preview": png_bytes(sheet(np.zeros((1, 1, 4, 4), np.float32), columns=1)),
        "scores": [
            Score(
                method="free_energy",
                function="score",
                output="free_energy",
                heatmap="heatmap",
                calibration=np.array([3.0, 1.0, 2.0]),
                held_out="three numbers",
            )
        ],
        "weights": b"weights",
        "companions": {"extra.png": b"picture"},
    }
    return publish(store, **(parts | changes))


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Package:
    return Package(publish_tiny(tmp_path_factory.mktemp("store")))


def test_a_published_package_is_one_that_the_service_reads(package):
    manifest = read_package(package.directory)
    assert manifest.id == "tiny@2"
    assert set(manifest.capabilities) >= {"sample", "interpolate", "inpaint", "score", "encode"}
    assert package.read("extra.png") == b"picture"
    assert package.read("weights.safetensors") == b"weights"
    with pytest.raises(PackageError, match="no file"):
        package.read("other")


def test_equal_graphs_share_one_file(package):
    functions = package.manifest.functions
    assert functions["again"].file == functions["decode"].file == "decode.onnx"
    assert not (package.directory / "again.onnx").exists()


def test_calibrations_are_sorted_float32(package):
    calibration = package.calibration("free_energy")
    assert calibration.dtype == np.float32
    assert calibration.tolist() == [1, 2, 3]
    assert package.manifest.scores[0].calibration.n == 3
    with pytest.raises(PackageError, match="no calibration"):
        package.calibration("other")


@pytest.mark.parametrize("values", [[], [np.nan, 1.0], [np.inf]])
def test_a_calibration_that_is_none_is_refused(tmp_path, values):
    score = Score("free_energy", "score", "free_energy", None, np.array(values), "nothing")
    with pytest.raises(PackageError, match="calibration"):
        publish_tiny(tmp_path, scores=[score])
    assert not list(tmp_path.iterdir())


def test_functions_run_by_name_and_complain_by_name(package):
    x = np.zeros((3, 1, 4, 4), np.float32)
    assert package.run("score", x=x)["heatmap"].shape == (3, 1, 4, 4)
    with pytest.raises(PackageError, match=r"\['x'\]"):
        package.run("score", y=x)
    with pytest.raises(PackageError, match="no function 'paint'"):
        package.run("paint", x=x)


def test_a_damaged_package_is_not_opened(tmp_path):
    directory = publish_tiny(tmp_path)
    (directory / "score.onnx").write_bytes(b"")
    with pytest.raises(PackageError, match=r"score\.onnx"):
        Package(directory)


def test_publishing_again_replaces_the_package_whole(tmp_path):
    publish_tiny(tmp_path)
    directory = publish_tiny(tmp_path, companions={}, card="# newer")
    assert not (directory / "extra.png").exists()
    assert Package(directory).read("card.md") == b"# newer"


def test_samples_depend_on_seed_and_row_alone(package):
    three, six = sample(package, n=4, seed=9, sweeps=[3, 6])
    assert three.shape == (4, 1, 4, 4)
    assert np.array_equal(sample(package, n=2, seed=9, sweeps=[6])[0], six[:2])
    assert not np.array_equal(sample(package, n=2, seed=8, sweeps=[6])[0], six[:2])


def test_inpainting_keeps_what_is_known_and_fills_the_hole(package):
    images = np.random.default_rng(0).random((5, 1, 4, 4), dtype=np.float32)
    hole = np.zeros((1, 4, 4), bool)
    hole[:, 1:3, 1:3] = True
    filled = inpaint(package, images, hole, seed=1, sweeps=5)
    assert np.array_equal(filled[:, ~hole], images[:, ~hole])
    assert not np.array_equal(filled[:, hole], images[:, hole])


def test_a_chain_with_everything_clamped_forgets_its_start(package):
    held = np.ones((2, 16), bool)
    clamps = {Role.CLAMP_MASK: held, Role.CLAMP_VALUES: held}
    (one,) = run_chains(package, clamps, n=2, seed=1, sweeps=[70])
    assert one.shape == (2, 1, 4, 4)


def test_a_card_says_what_it_is_and_where_its_figures_come_from():
    text = write_card(
        ModelCard(
            title="tiny 2",
            summary="A small machine.",
            uses=["tests"],
            limits=["everything else"],
            training_data="none",
            training="not at all",
            quality=[FIGURE],
            pictures=[Picture("preview.png", "samples"), Picture("b.png", "more")],
            provenance={
                "command": "reverie train x.toml",
                "seed": 1,
                "steps": 12_345,
                "training_seconds": 61.0,
                "device": "cpu",
                "versions": {"torch": "2"},
                "commit": None,
                "created": "2020-01-01",
            },
            notes={"More": "words"},
        )
    )
    for part in (
        "# tiny 2",
        "![samples](preview.png)",
        "![more](b.png)",
        "0.99 | 0.98 … 1 |",
        "`reverie evaluate x`",
        "12,345",
        "61 s",
        "no commit",
        "## More",
    ):
        assert part in text
    assert "a \\| b" in quality_markdown([FIGURE])


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (119, "119 s"), (1800, "30 min"), (9000, "2.5 h")]
)
def test_durations_are_in_a_unit_that_suits_them(seconds, words):
    assert duration(seconds) == words


def test_numbers_have_five_digits():
    assert [number(x) for x in (-86.34567, 0.0, 1.5e-7)] == ["-86.346", "0", "1.50e-07"]


def test_a_manifest_is_plain_json(package):
    document = json.loads((package.directory / "manifest.json").read_text())
    assert document["functions"]["sweep"]["exact"] is True
    assert document["functions"]["sweep"]["start"] == "start"


def test_a_preview_is_a_png(package):
    from PIL import Image

    with Image.open(io.BytesIO(package.read("preview.png"))) as image:
        assert image.format == "PNG"
        assert image.size == (8, 8)


def test_weights_are_left_alone_by_quantising():
    rbm = machine(5, 4)
    kept = rbm.W.clone()
    quantise(rbm, bits=8)
    assert torch.equal(rbm.W, kept)
