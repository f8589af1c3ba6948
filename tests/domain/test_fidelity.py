"""Quality figures against cases whose answer is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.fidelity import (
    class_shares,
    exact_duplicates,
    frechet_distance,
    kl_to_uniform,
    manifold_figures,
    nearest_distance,
)


def cloud(n: int, *, seed: int, d: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def test_the_frechet_distance_of_a_shift_is_its_squared_length():
    a = cloud(400, seed=0)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(a, a + np.float32(2.0)) == pytest.approx(12.0, rel=1e-4)


def test_the_frechet_distance_of_a_stretch_is_that_of_the_deviations():
    a = cloud(400, seed=0, d=1)
    sigma = float(np.std(a.astype(np.float64), ddof=1))
    middle = a.mean()
    stretched = (3.0 * (a - middle) + middle).astype(np.float32)
    assert frechet_distance(a, stretched) == pytest.approx((2.0 * sigma) ** 2, rel=1e-4)


def test_the_frechet_distance_is_symmetric_for_correlated_features():
    a = cloud(300, seed=1) @ np.array([[1, 2, 0], [0, 1, 1], [0, 0, 1]], np.float32)
    b = cloud(300, seed=2) + 1
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-8)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60))
def test_shares_sum_to_one_and_the_divergence_is_bounded(classes):
    shares = class_shares(np.array(classes), n_classes=10)
    assert shares.sum() == pytest.approx(1.0)
    assert -1e-12 <= kl_to_uniform(shares) <= math.log(10) + 1e-12


def test_the_divergence_is_zero_for_equal_shares_and_log_k_for_one_class():
    assert kl_to_uniform(np.full(10, 0.1)) == pytest.approx(0.0, abs=1e-12)
    assert kl_to_uniform(np.eye(10)[3]) == pytest.approx(math.log(10))


def test_equal_clouds_have_full_precision_and_a_far_one_has_none():
    real = cloud(200, seed=3)
    same = manifold_figures(real=real, fake=cloud(200, seed=4), k=5)
    assert same.precision > 0.8
    assert same.recall > 0.8
    assert same.density == pytest.approx(1.0, abs=0.2)
    assert same.coverage > 0.9
    far = manifold_figures(real=real, fake=real + 100, k=5)
    assert (far.precision, far.recall, far.density, far.coverage) == (0, 0, 0, 0)


def test_one_good_point_repeated_is_precise_but_covers_little():
    real = cloud(200, seed=3)
    dropped = manifold_figures(real=real, fake=np.repeat(real[:1], 200, axis=0), k=5)
    assert dropped.precision == 1.0
    assert dropped.coverage < 0.2
    assert dropped.recall < 0.05


def test_too_few_points_for_k_are_refused():
    with pytest.raises(ValueError, match="k=5"):
        manifold_figures(real=cloud(5, seed=0), fake=cloud(9, seed=0), k=5)


def test_the_nearest_distance_is_the_least_of_all():
    a, b = cloud(30, seed=5), cloud(40, seed=6)
    slow = [min(np.linalg.norm(x - y) for y in b) for x in a]
    assert nearest_distance(a, b, batch=7) == pytest.approx(np.array(slow), rel=1e-4)


def test_duplicates_are_counted_after_rounding_to_8_bits():
    images = np.random.default_rng(0).random((4, 1, 2, 2), np.float32)
    images[2] = images[0] + 1e-5
    images[:, 0, 0, 0] = [0.1, 0.2, 0.1, 0.4]
    images = np.rint(images * 255) / 255
    assert exact_duplicates(images) == pytest.approx(0.25)
