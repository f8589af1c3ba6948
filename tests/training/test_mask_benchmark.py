"""Inpainting on five masks: the masks, each figure against its definition, and the command."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from service.contract import PackageError
from service.engine import open_engine
from service.queries import Call, Inpaint
from service.settings import Settings as ServiceSettings
from training import cli
from training.benchmarks import holes
from training.benchmarks.cli import app
from training.benchmarks.fillers import MeanImage, NearestNeighbours, PackageFiller
from training.benchmarks.inpainting import Settings, Work, figures, picture_rows, run_masks
from training.benchmarks.reports import inpainting_grids
from training.data import Dataset
from training.package import Package
from training.run import Interrupted, RunConflict

HOLE = np.zeros((1, 4, 4), bool)
HOLE[:, 1:3, 1:3] = True
MASKS = ["centre 2×2", "left half", "lower half", "50 % of pixels", "80 % of pixels"]


def images(n=5, *, side=4, seed=0):
    return np.random.default_rng(seed).random((n, 1, side, side), dtype=np.float32)


def data(n=5, **more):
    return Dataset(images=images(n, **more), labels=np.arange(n) % 10, name="made up")


def test_the_five_masks_are_the_ones_that_were_agreed_on():
    found = holes.five_holes(28)
    assert [int(hole.sum()) for hole in found.values()] == [196, 392, 392, 392, 627]
    assert list(found) == ["centre 14×14", *MASKS[1:]]
    centre, left, lower = (found[name][0] for name in list(found)[:3])
    assert centre[7:21, 7:21].all()
    assert left[:, :14].all()
    assert lower[14:].all()
    again = holes.five_holes(28)
    assert all(np.array_equal(found[name], again[name]) for name in found)


def test_the_truth_has_the_least_cross_entropy_and_sure_mistakes_cost_a_finite_one():
    x = images()
    own = holes.cross_entropy(x, x, HOLE)
    inside = x[:, HOLE].astype(np.float64)
    entropy = -(inside * np.log(inside) + (1 - inside) * np.log(1 - inside)).mean()
    assert own == pytest.approx(entropy, rel=1e-3)
    assert own < holes.cross_entropy(0.9 * x + 0.05, x, HOLE)
    wrong = holes.cross_entropy(np.zeros_like(x), np.ones_like(x), HOLE)
    assert wrong == pytest.approx(-np.log(holes.LEAST_PROBABILITY))


def test_errors_are_those_of_the_hole_alone():
    x = images()
    filled = np.where(HOLE, x + 0.1, 0.0)[None]
    assert holes.squared_error(filled, x, HOLE) == pytest.approx(0.01, rel=1e-4)
    assert holes.psnr_db(filled, x, HOLE) == pytest.approx(20.0, rel=1e-4)
    assert holes.psnr_db(x[None], x, HOLE) == holes.MOST_PSNR_DB


@given(st.integers(2, 6), st.integers(0, 1000))
def test_diversity_is_the_mean_over_pairs(n, seed):
    fillings = np.random.default_rng(seed).random((n, 3, 1, 4, 4))
    pairs = [
        np.square(fillings[i] - fillings[j])[:, HOLE].mean() for i in range(n) for j in range(i)
    ]
    assert holes.diversity(fillings, HOLE) == pytest.approx(np.mean(pairs))
    assert holes.diversity(fillings[:1], HOLE) is None


def test_a_sampler_of_the_truth_is_as_diverse_as_it_errs():
    draw = np.random.default_rng(0)
    p = draw.random((2000, 1, 4, 4))
    truth, *fillings = (draw.random((5, *p.shape)) < p).astype(np.float64)
    error = holes.squared_error(np.stack(fillings), truth, HOLE)
    spread = holes.diversity(np.stack(fillings), HOLE)
    # 8,000 pixels with errors of 0 or 1: their mean of 1/3 has a standard error of about 0.005.
    assert spread == pytest.approx(error, abs=0.02)


def test_ssim_is_wang_s_formula():
    a, b = np.full((1, 1, 28, 28), 0.2), np.full((1, 1, 28, 28), 0.6)
    whole = np.ones((1, 28, 28), bool)
    assert holes.structural_similarity(a[None], a, whole) == pytest.approx(1.0)
    means = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert holes.structural_similarity(a[None], b, whole) == pytest.approx(means)
    x, y = images(1, side=28), images(1, side=28, seed=1)
    pixel = np.zeros((1, 28, 28), bool)
    pixel[0, 14, 12] = True
    apart = np.square(np.arange(-5, 6))
    window = np.exp(-(apart[:, None] + apart[None]) / (2 * 1.5**2))
    window /= window.sum()
    u, v = (i[0, 0, 9:20, 7:18].astype(np.float64) for i in (x, y))
    mu, mv = (window * u).sum(), (window * v).sum()
    du, dv = (window * u * u).sum() - mu**2, (window * v * v).sum() - mv**2
    both = (window * u * v).sum() - mu * mv
    c1, c2 = 1e-4, 9e-4
    wanted = (2 * mu * mv + c1) * (2 * both + c2) / ((mu**2 + mv**2 + c1) * (du + dv + c2))
    assert holes.structural_similarity(x[None], y, pixel) == pytest.approx(wanted)


def test_baselines_keep_what_is_known_and_fill_what_they_say():
    train, some = images(30, seed=2), images(6)
    mean = MeanImage(train).fill(some, HOLE, n=3, seed=0)
    assert mean.shape == (1, 6, 1, 4, 4)
    np.testing.assert_allclose(mean[0][:, HOLE], np.broadcast_to(train.mean(0)[HOLE], (6, 4)))
    both = np.concatenate([train, some])
    near = NearestNeighbours(both).fill(some, HOLE, n=2, seed=0)
    assert np.array_equal(near[0], some)  # itself
    known = ~HOLE
    for filling in (*mean, *near):
        assert np.array_equal(filling[:, known], some[:, known])
    apart = np.square(train[:, None] - some[None])[:, :, known].sum(-1)
    second = train[apart.argmin(0)]
    assert np.array_equal(near[1][:, HOLE], second[:, HOLE])


async def test_packages_fill_as_the_service_does_with_the_same_seed(tiny_store):
    engine = await open_engine(ServiceSettings(models_store=tiny_store, device="cpu"))
    query = Inpaint(images=images(3), mask=HOLE.astype(np.float32), n=2, seed=5)
    served = await engine.run(engine.registry.get("tiny-rbm"), query, Call.lasting(30))
    await engine.stop()
    filler = PackageFiller(Package(tiny_store / "tiny-rbm" / "1"))
    mine = filler.fill(images(3), HOLE, n=2, seed=5)
    assert mine.transpose(1, 0, 2, 3, 4).tobytes() == served.samples.tobytes()


def test_packages_that_cannot_fill_these_images_are_refused(tiny_store):
    filler = PackageFiller(Package(tiny_store / "tiny-rbm" / "1"))
    with pytest.raises(PackageError, match=r"of data \(1, 4, 4\)"):
        filler.check((1, 28, 28))
    filler.check((1, 4, 4))
    functions = {"score": filler.package.manifest.functions["score"]}
    manifest = filler.package.manifest.model_copy(update={"functions": functions})
    filler.package.manifest = manifest
    with pytest.raises(PackageError, match="cannot inpaint: it has score"):
        filler.check((1, 4, 4))


@dataclass
class Counting:
    """Fills with a constant, and counts how often."""

    name: str = "half"
    key: str = "half"
    calls: int = 0

    def fill(self, images, hole, *, n, seed):
        self.calls += 1
        return np.where(hole, np.float32(0.5), np.stack([images] * n))


def work(folder, *, stop=False):
    return Work(folder=folder, stop=lambda: stop, on_done=lambda *_: None)


def test_what_is_finished_is_not_done_again_and_other_settings_are_refused(tmp_path):
    filler, settings = Counting(), Settings(images=4, fillings=2)
    first = run_masks([filler], data(), judge=None, settings=settings, work=work(tmp_path))
    assert list(first["masks"]) == MASKS
    assert first["settings"]["images"] == 4
    done = filler.calls
    again = run_masks([filler], data(), judge=None, settings=settings, work=work(tmp_path))
    assert filler.calls == done
    assert again == first
    with pytest.raises(RunConflict, match="--fresh"):
        run_masks([filler], data(), judge=None, settings=Settings(images=3), work=work(tmp_path))
    with pytest.raises(RunConflict, match="another package"):
        run_masks(
            [Counting(key="other")], data(), judge=None, settings=settings, work=work(tmp_path)
        )


def test_a_stop_is_heard_between_masks(tmp_path):
    with pytest.raises(Interrupted, match="before half on the centre"):
        run_masks(
            [Counting()], data(), judge=None, settings=Settings(), work=work(tmp_path, stop=True)
        )


def test_the_image_itself_is_the_floor(tmp_path):
    some = data()
    results = run_masks(
        [Counting()], some, judge=None, settings=Settings(images=5), work=work(tmp_path)
    )
    for mask in results["masks"].values():
        floor, filled = mask["the image itself"], mask["half"]
        assert floor["mse"] == 0
        assert floor["ssim"] == pytest.approx(1)
        assert floor["psnr"] == holes.MOST_PSNR_DB
        assert floor["cross_entropy"] < filled["cross_entropy"]
        assert filled["diversity"] == 0
        assert filled["cpu_ms"] >= 0
    assert figures(some.images[None], some, HOLE, judge=None)["class_kept"] is None


def test_pictures_show_the_mask_three_fillings_and_the_truth(tmp_path):
    some = data(6)
    run_masks(
        [Counting()], some, judge=None, settings=Settings(images=6, fillings=1), work=work(tmp_path)
    )
    tiles, columns = picture_rows(Counting(), some, tmp_path)
    assert tiles.shape == (5 * columns, 1, 4, 4)
    assert columns == 4 * 5
    masked, *fillings, truth = tiles[:5]
    hole = holes.five_holes(4)["centre 2×2"]
    assert len(np.unique(masked[hole])) == 1
    assert all((filling[hole] == 0.5).all() for filling in fillings)
    assert np.array_equal(truth, some.images[0])


def test_the_best_of_each_figure_is_marked_and_the_floor_never_is():
    some = {"cross_entropy": 0.3, "psnr": 12.0, "class_kept": 0.9, "diversity": 0.1, "mse": 0.04}
    other = some | {"cross_entropy": 0.2, "psnr": 11.0, "class_kept": 0.9001, "diversity": None}
    floor = some | {"cross_entropy": 0.1, "mse": 0.0}
    fillers = {"a": some, "b": other, "the image itself": floor}
    (grid,) = inpainting_grids({"masks": {"left half": fillers}})
    cells = {row[0]: dict(zip(grid.head, row, strict=True)) for row in grid.rows}
    assert cells["a"]["cross-entropy"] == "0.3"
    assert cells["b"]["cross-entropy"] == "**0.2**"
    assert cells["a"]["PSNR"] == "**12**"
    assert cells["a"]["digit kept"] == cells["b"]["digit kept"] == "**90.0%**"
    assert cells["a"]["diversity"] == "0.1"
    assert cells["b"]["diversity"] == ""
    assert "**" not in "".join(grid.rows[-1])
    assert grid.markdown().splitlines()[0].startswith("| filled by | cross-entropy |")


RECIPE = """
name = "tiny-rbm"
kind = "rbm"
[data]
name = "digits"
limit = 300
holdout = 100
[model]
hidden = 8
[train]
phases = [{ epochs = 1, batch = 20, chains = 20, sweeps = 1 }]
[export]
burn_in = 5
inpaint_steps = 3
[evaluate]
betas = 20
runs = 10
reverse_runs = 5
reverse_burn_in = 5
"""


def test_the_command_fills_holes_with_a_package_and_prints_its_tables(tmp_path):
    (tmp_path / "tiny.toml").write_text(RECIPE)
    train = typer.Typer()
    train.command()(cli.train)
    places = ["--store", str(tmp_path / "store"), "--runs", str(tmp_path / "runs")]
    made = CliRunner().invoke(train, [str(tmp_path / "tiny.toml"), *places, "--device", "cpu"])
    assert made.exit_code == 0, made.output

    words = ["inpainting", "tiny-rbm", "--data", "digits", "--images", "6", "--fillings", "2"]
    more = ["--out", str(tmp_path), "--pictures", str(tmp_path), "--threads", "1"]
    result = CliRunner().invoke(app, [*words, *places, *more], env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "inpainting.json").read_text())
    assert results["settings"] == {"images": 6, "fillings": 2, "seed": 1}
    for mask in ("centre 4×4", *MASKS[1:]):
        assert mask in result.output
        assert list(results["masks"][mask]) == [
            "tiny-rbm@1",
            "mean image",
            "nearest neighbours",
            "the image itself",
        ]
    with Image.open(tmp_path / "quality-inpainting-tiny-rbm.png") as picture:
        assert picture.width > picture.height

    refused = CliRunner().invoke(app, ["inpainting", "tiny-rbm", *places], env={"COLUMNS": "160"})
    assert refused.exit_code == 2
    assert "not of images [1, 28, 28]" in refused.output
