"""Sets of points: the modes are where the papers put them, and each figure against counting."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data import load
from training.planar import PLANAR_SETS

RING, GRID = PLANAR_SETS["ring"], PLANAR_SETS["grid"]
NAMES = sorted(PLANAR_SETS)


def test_the_sets_are_pacgans():
    assert RING.centres.shape == (8, 2)
    np.testing.assert_allclose(np.linalg.norm(RING.centres, axis=1), 1.0)
    assert RING.sigma == 0.01
    assert GRID.centres.shape == (25, 2)
    assert sorted(set(GRID.centres[:, 0])) == [-4, -2, 0, 2, 4]
    assert GRID.sigma == 0.05


@pytest.mark.parametrize("name", NAMES)
def test_real_points_capture_every_mode_with_the_quality_of_a_normal(name):
    """Within four standard errors of 1 − e^(−9/2), over 20,000 points."""
    planar = PLANAR_SETS[name]
    points, modes = planar.draw(20_000, seed=1)
    figures = planar.figures(points)
    expected = 1.0 - math.exp(-4.5)
    error = math.sqrt(expected * (1 - expected) / len(points))
    assert figures.captured == figures.modes == len(planar.centres)
    assert figures.high_quality == pytest.approx(expected, abs=4 * error)
    assert figures.reverse_kl < 0.005
    assert np.array_equal(np.unique(modes), np.arange(len(planar.centres)))


def test_one_mode_alone_has_the_divergence_of_a_point_mass():
    figures = GRID.figures(np.repeat(GRID.centres[:1], 50, axis=0))
    assert (figures.captured, figures.high_quality) == (1, 1.0)
    assert figures.reverse_kl == pytest.approx(math.log(25))


def test_points_between_the_modes_are_of_no_quality_and_capture_none():
    figures = GRID.figures(GRID.centres + 1.0)
    assert (figures.captured, figures.high_quality) == (0, 0.0)
    assert figures.reverse_kl == pytest.approx(math.log(25))


def test_quality_ends_at_three_standard_deviations():
    edge = RING.centres[:1] + np.array([[0.0, 0.0299]])
    outside = RING.centres[:1] + np.array([[0.0, 0.0301]])
    assert RING.figures(edge).high_quality == 1.0
    assert RING.figures(outside).high_quality == 0.0


@given(st.sampled_from(NAMES), st.integers(1, 50), st.integers(0, 1000))
def test_the_unit_square_holds_the_points_and_gives_them_back(name, n, seed):
    planar = PLANAR_SETS[name]
    points, _ = planar.draw(n, seed=seed)
    unit = planar.to_unit(points)
    assert unit.shape == (n, 2, 1, 1)
    assert unit.min() > 0.0
    assert unit.max() < 1.0
    np.testing.assert_allclose(planar.from_unit(unit), points, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_finds_them_by_name_with_their_modes_as_labels(name):
    planar = PLANAR_SETS[name]
    train, test = load({"name": name, "limit": 3000}), load(name, "test")
    assert train.images.shape == (3000, 2, 1, 1)
    assert train.images.dtype == np.float32
    assert len(test) == 10_000
    near = np.linalg.norm(planar.from_unit(test.images)[:, None] - planar.centres[None], axis=2)
    assert np.array_equal(near.argmin(1), test.labels)
    assert not np.array_equal(train.images[:10], test.images[:10])
