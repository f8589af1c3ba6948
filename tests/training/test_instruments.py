"""A training's instruments: each shows what it is for, on samples that are wrong on purpose."""

import numpy as np
import pytest

from training.data import load
from training.eyes import JudgeEye, PixelEye, PlanarEye, StackedEye, eye_for
from training.instruments import Instruments, near_duplicates, nearest_other_distance
from training.judge import load_judge
from training.planar import PLANAR_SETS

GRID = PLANAR_SETS["grid"]


def points(n: int, *, seed: int, modes: int = 25) -> np.ndarray:
    drawn, of = GRID.draw(n * 25 // modes + 200, seed=seed)
    return GRID.to_unit(drawn[of < modes][:n])


@pytest.fixture(scope="module")
def grid() -> Instruments:
    return Instruments.of("grid", held_out=points(1500, seed=1), train=points(3000, seed=2))


@pytest.fixture(scope="module")
def digits():
    train = load({"name": "mnist", "limit": 3000})
    images = train.images
    return Instruments.of("mnist", held_out=images[:1000], train=images[1000:2500]), images


def test_real_points_score_as_real_points_do(grid):
    figures = grid.read(points(1500, seed=3))
    assert figures["judge__modes"] == figures["judge__classes"] == 25
    assert figures["judge__high_quality"] > 0.97
    assert figures["judge__coverage"] > 0.9
    assert figures["judge__recall"] > 0.9
    assert figures["judge__frechet"] < 0.02


def test_lost_modes_are_seen_in_modes_recall_coverage_and_divergence(grid):
    whole, lost = (grid.read(points(1500, seed=3, modes=modes)) for modes in (25, 5))
    assert lost["judge__modes"] == 5
    assert lost["judge__reverse_kl"] == pytest.approx(np.log(5), abs=0.02)
    assert lost["judge__high_quality"] > 0.97
    assert lost["judge__precision"] > 0.9
    assert lost["judge__recall"] < whole["judge__recall"] - 0.5
    assert lost["judge__coverage"] < whole["judge__coverage"] - 0.5
    assert lost["judge__frechet"] > 10 * whole["judge__frechet"]


def test_points_between_the_modes_lose_precision_and_quality(grid):
    figures = grid.read(points(1500, seed=3) + np.float32(0.1))
    assert figures["judge__high_quality"] == 0
    assert figures["judge__precision"] < 0.1


def test_a_judge_sees_lost_digits(digits):
    instruments, images = digits
    seen = instruments.eye.look(images[1000:]).classes
    whole = instruments.read(images[2000:])
    lost = instruments.read(images[1000:][seen < 5])
    assert whole["judge__classes"] == 10
    assert lost["judge__classes"] == 5
    assert lost["judge__least_class"] == 0
    assert lost["judge__recall"] < whole["judge__recall"] - 0.2
    assert lost["judge__kl_to_uniform"] > 0.6


def test_repeated_and_remembered_images_are_seen(digits):
    instruments, images = digits
    fresh = instruments.read(images[2500:])
    assert fresh["judge__near_duplicates"] < 0.1
    assert fresh["judge__near_copies"] < 0.1
    assert instruments.read(np.repeat(images[2500:2600], 5, axis=0))["judge__near_duplicates"] == 1
    assert instruments.read(images[1000:1500])["judge__near_copies"] == 1


def test_samples_are_shown_beside_the_nearest_training_images(digits):
    instruments, images = digits
    shown = instruments.beside_nearest(images[1000:1010])
    assert shown.shape == (20, 1, 28, 28)
    assert np.array_equal(shown[:10], shown[10:])  # they are training images themselves


def test_the_nearest_other_row_is_not_the_row_itself():
    rows = np.array([[0.0], [1.0], [3.0], [3.0]])
    assert nearest_other_distance(rows).tolist() == [1, 1, 0, 0]
    assert near_duplicates(rows, within=0.5) == 0.5
    assert near_duplicates(rows[:1], within=0.5) == 0


def test_every_data_set_finds_its_eye():
    assert isinstance(eye_for("grid", (2, 1, 1)), PlanarEye)
    assert isinstance(eye_for("stacked-mnist", (3, 28, 28)), StackedEye)
    assert isinstance(eye_for("mnist", (1, 28, 28)), JudgeEye)
    other = eye_for("mine", (3, 32, 32))
    assert isinstance(other, PixelEye)
    sight = other.look(np.zeros((4, 3, 32, 32), np.float32))
    assert sight.features.shape == (4, 147)
    assert sight.classes is None
    assert other.n_classes == 0


def test_stacked_digits_are_read_channel_by_channel():
    stacked = load({"name": "stacked-mnist", "limit": 200}, "test")
    eye = StackedEye(load_judge())
    sight = eye.look(stacked.images)
    assert sight.features.shape == (200, 192)
    # 99.5 % a digit: 98.5 % a number, with a standard error of 0.9 % over 200.
    assert (sight.classes == stacked.labels).mean() > 0.95


def test_too_few_images_to_judge_by_are_refused():
    with pytest.raises(ValueError, match=r"raise data\.holdout"):
        Instruments.of("grid", held_out=points(5, seed=1), train=points(5, seed=2))
