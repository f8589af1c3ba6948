"""Anomaly reports: the AUROC against counting pairs, and p-values that are honest or are not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.anomaly import (
    anomaly_report,
    auroc,
    inverted,
    pixel_shuffled,
    uniform_noise,
)

NUMBERS = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=30)


def images(n: int, *, seed: int = 0) -> np.ndarray:
    """Mostly dark, like digits."""
    return np.random.default_rng(seed).random((n, 1, 6, 6), np.float32) ** 8


def ink(x: np.ndarray) -> np.ndarray:
    return x.mean((1, 2, 3))


@given(NUMBERS, NUMBERS)
def test_the_auroc_is_the_share_of_pairs_in_the_right_order(normal, anomalous):
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in anomalous for b in normal]
    found = auroc(normal=np.array(normal), anomalous=np.array(anomalous))
    assert found == pytest.approx(sum(pairs) / len(pairs))


def test_an_empty_side_and_a_score_of_nan_are_refused():
    with pytest.raises(ValueError, match="both kinds"):
        auroc(normal=np.ones(0), anomalous=np.ones(2))
    with pytest.raises(ValueError, match="NaN"):
        auroc(normal=np.ones(2), anomalous=np.array([np.nan]))


def test_counterfeits_are_what_they_are_called():
    x = images(3)
    assert np.array_equal(np.sort(pixel_shuffled(x, seed=1).ravel()), np.sort(x.ravel()))
    assert not np.array_equal(pixel_shuffled(x, seed=1), x)
    assert np.allclose(inverted(x) + x, 1.0)
    assert uniform_noise(x, seed=1).mean() == pytest.approx(0.5, abs=0.1)


def test_a_score_that_sees_ink_alone_knows_noise_but_not_shuffled_pixels():
    report = anomaly_report(ink, images(400), ink(images(400, seed=1)))
    assert report.auroc["uniform_noise"] == 1.0
    assert report.auroc["inverted"] == 1.0
    assert report.auroc["pixel_shuffled"] == pytest.approx(0.5, abs=0.01)


def test_the_share_of_low_p_values_is_alpha_for_exchangeable_data():
    report = anomaly_report(ink, images(2000), ink(images(2000, seed=1)))
    assert report.calibrated
    assert report.share == pytest.approx(0.05, abs=3 * report.share_error)
    assert report.share_error == pytest.approx(np.sqrt(0.05 * 0.95 * 2 / 2000))


def test_a_calibration_on_other_data_is_told_apart():
    lighter = 0.5 * images(2000, seed=1)
    assert not anomaly_report(ink, images(2000), ink(lighter)).calibrated


def test_the_report_does_not_depend_on_the_batch():
    calibration = ink(images(50, seed=1))
    one = anomaly_report(ink, images(101), calibration, batch=101)
    assert one == anomaly_report(ink, images(101), calibration, batch=7)


def test_figures_say_what_they_were_measured_on():
    report = anomaly_report(ink, images(100), ink(images(50, seed=1)))
    figures = {f.name: f for f in report.figures(command="do it")}
    assert set(figures) == {
        "auroc_uniform_noise",
        "auroc_inverted",
        "auroc_pixel_shuffled",
        "p_value_share",
    }
    assert "100 test images" in figures["p_value_share"].protocol
    assert "50 held-out" in figures["p_value_share"].protocol
    assert figures["p_value_share"].interval is not None
    assert all(f.command == "do it" for f in figures.values())
