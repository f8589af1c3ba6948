"""The AUC and its interval, shares and means, against cases whose answer is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.ranking import auc, mean_interval, roc_points, share_interval

SCORES = st.lists(st.integers(-5, 5), min_size=2, max_size=20).map(lambda x: np.array(x, float))


@settings(deadline=None)
@given(positive=SCORES, negative=SCORES)
def test_the_auc_is_the_share_of_pairs_in_the_right_order_and_ties_count_half(positive, negative):
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    found = auc(positive=positive, negative=negative)
    assert found.value == pytest.approx(np.mean(pairs))
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_the_interval_of_the_auc_holds_the_truth_about_95_times_in_100():
    draw = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        found = auc(positive=draw.normal(0, 1, 60), negative=draw.normal(0, 1, 80))
        held += found.low <= 0.5 <= found.high
    assert 400 * 0.92 <= held <= 400 * 0.98  # 3 standard errors of 400 draws are 0.033


def test_an_auc_needs_two_scores_of_each_kind():
    with pytest.raises(ValueError, match="two scores"):
        auc(positive=np.ones(1), negative=np.ones(5))


@settings(deadline=None)
@given(positive=SCORES, negative=SCORES)
def test_the_area_under_the_curves_points_is_the_auc(positive, negative):
    false, true = roc_points(positive=positive, negative=negative)
    area = np.trapezoid(true, false)
    assert area == pytest.approx(auc(positive=positive, negative=negative).value)


def test_a_curve_has_no_more_points_than_asked_for_and_its_ends():
    draw = np.random.default_rng(0)
    false, true = roc_points(positive=draw.random(500), negative=draw.random(500), points=11)
    assert len(false) == len(true) == 13
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)


def test_intervals_of_shares_are_wilsons():
    assert share_interval(0, 10) == pytest.approx((0.0, 0.27753), abs=1e-4)
    assert share_interval(5, 10) == pytest.approx((0.23659, 0.76341), abs=1e-4)
    assert share_interval(10, 10)[1] == 1.0
    assert share_interval(0, 0) == (0.0, 1.0)


def test_the_interval_of_a_mean_is_two_standard_errors_wide_on_each_side():
    values = np.array([1.0, 2.0, 3.0, 4.0])
    low, high = mean_interval(values)
    assert (low + high) / 2 == 2.5
    assert (high - low) / 2 == pytest.approx(1.96 * values.std(ddof=1) / 2, rel=1e-4)
