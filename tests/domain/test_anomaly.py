"""Conformal p-values are valid, and the threshold says the same as the p-value."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.anomaly import conformal_p_values, threshold

scores = st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=60)


@given(held_out=scores, new=scores, alpha=st.floats(0.001, 0.999))
def test_p_at_most_alpha_is_the_same_as_above_the_threshold(held_out, new, alpha):
    calibration = np.sort(np.array(held_out, np.float32))
    x = np.array(new, np.float32)
    p = conformal_p_values(x, calibration=calibration)
    limit = threshold(calibration=calibration, alpha=alpha)
    assert ((p <= alpha) == (x > limit)).all()


@given(held_out=scores, new=scores)
def test_p_values_fall_as_scores_rise_and_are_never_zero(held_out, new):
    calibration = np.sort(np.array(held_out, np.float32))
    p = conformal_p_values(np.sort(np.array(new, np.float32)), calibration=calibration)
    assert (np.diff(p) <= 0).all()
    assert p.min() >= 1 / (len(held_out) + 1)
    assert p.max() <= 1


@pytest.mark.statistical
def test_the_share_of_normal_data_with_p_at_most_alpha_is_at_most_alpha():
    draw = np.random.default_rng(0)
    shares = []
    for _ in range(400):
        s = draw.standard_normal(200)
        p = conformal_p_values(s[100:], calibration=np.sort(s[:100]))
        shares.append((p <= 0.1).mean())
    error = np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) <= 0.1 + 4 * error
    assert np.mean(shares) >= 0.1 - 1 / 101 - 4 * error


def test_a_score_that_is_not_a_number_is_as_anomalous_as_can_be():
    p = conformal_p_values(np.array([np.nan]), calibration=np.arange(9.0))
    assert p.tolist() == [0.1]


def test_too_few_held_out_scores_can_call_nothing_anomalous():
    assert threshold(calibration=np.arange(9.0), alpha=0.05) == np.inf
