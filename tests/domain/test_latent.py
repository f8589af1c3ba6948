"""Paths keep their ends, their length and their order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from service.domain.latent import draw, grid, lerp, path, slerp, truncate

vectors = arrays(np.float32, 8, elements=st.floats(-4, 4, width=32))


@given(a=vectors, b=vectors)
def test_both_ends_are_exact(a, b):
    for step in (lerp, slerp):
        assert step(a, b, 0.0).tobytes() == a.tobytes()
        assert step(a, b, 1.0).tobytes() == b.tobytes()


@given(a=vectors, b=vectors, t=st.floats(0, 1))
def test_slerp_is_finite_even_between_parallel_opposite_and_zero_ends(a, b, t):
    for end in (b, a, -a, np.zeros_like(a)):
        assert np.isfinite(slerp(a, end, t)).all()


def test_slerp_of_equal_norms_keeps_the_norm_and_halves_the_angle():
    a, b = np.array([2, 0], np.float32), np.array([0, 2], np.float32)
    assert slerp(a, b, 0.5) == pytest.approx([np.sqrt(2), np.sqrt(2)])


def test_slerp_norm_goes_linearly_between_different_norms():
    a, b = np.array([1, 0], np.float32), np.array([0, 3], np.float32)
    assert np.linalg.norm(slerp(a, b, 0.25)) == pytest.approx(1.5)


def test_a_path_visits_its_points_and_a_loop_does_not_repeat_the_first():
    points = draw(prior="normal", size=4, seed=1, rows=range(3))
    through = path(points, frames=5, method="slerp", loop=False)
    assert through[[0, 2, 4]].tobytes() == points.tobytes()
    around = path(points, frames=6, method="lerp", loop=True)
    assert around[[0, 2, 4]].tobytes() == points.tobytes()
    assert not any(np.array_equal(frame, points[0]) for frame in around[1:])


def test_a_grid_has_its_corners_in_its_corners():
    corners = draw(prior="normal", size=4, seed=1, rows=range(4))
    made = grid(corners, rows=3, columns=5, method="slerp").reshape(3, 5, 4)
    assert made[[0, 0, 2, 2], [0, 4, 0, 4]].tobytes() == corners.tobytes()


def test_truncation_draws_towards_the_mean_and_one_changes_nothing():
    z = draw(prior="normal", size=4, seed=1, rows=range(2))
    assert truncate(z, 1.0).tobytes() == z.tobytes()
    assert truncate(z, 0.5) == pytest.approx(z / 2)


def test_a_uniform_prior_fills_its_interval():
    z = draw(prior="uniform", size=5000, seed=1, rows=range(2))
    assert -1 <= z.min() < -0.999
    assert 0.999 < z.max() < 1
