"""SDMetrics' definitions of likeness, against values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.similarity import (
    bin_edges,
    binned,
    contingency_similarity,
    correlation,
    correlation_similarity,
    ks_complement,
    tv_complement,
)

NAN = np.nan


def test_the_ks_complement_is_1_less_the_largest_gap_between_the_distributions():
    # F_real − F_synthetic at 1, 2, 3, 4: 1/4 − 0, 2/4 − 0, 3/4 − 1/2, 1 − 1.
    assert ks_complement(np.array([1.0, 2, 3, 4]), np.array([3.0, 4])) == pytest.approx(0.5)
    assert ks_complement(np.array([1.0, 2]), np.array([8.0, 9])) == 0.0


def test_the_ks_complement_leaves_missing_values_out():
    assert ks_complement(np.array([1.0, NAN, 2]), np.array([NAN, 1.0, 2, NAN])) == 1.0
    assert ks_complement(np.array([NAN]), np.array([1.0])) is None


def test_the_tv_complement_is_the_share_that_the_histograms_have_in_common():
    real, synthetic = np.array([0, 0, 0, 1]), np.array([0, 2, 2, 2])
    assert tv_complement(real, synthetic) == pytest.approx(0.25)
    assert tv_complement(np.array([0, -1, -1]), np.array([0])) == 1.0
    assert tv_complement(np.array([-1]), np.array([0])) is None


def test_the_correlation_similarity_halves_the_difference():
    x = np.array([1.0, 2, 3, NAN])
    assert correlation(x, 2 * x) == pytest.approx(1.0)
    assert correlation(x, -x) == pytest.approx(-1.0)
    assert correlation_similarity(1.0, -1.0) == 0.0
    assert correlation_similarity(0.5, 0.1) == pytest.approx(0.8)


def test_a_correlation_with_a_constant_is_not_defined():
    assert correlation(np.ones(5), np.arange(5.0)) is None
    assert correlation_similarity(None, 0.5) is None


def test_the_contingency_similarity_compares_pairs_and_takes_missing_for_a_category():
    a, b = np.array([0, 0, 1, 1]), np.array([0, 1, 0, -1])
    assert contingency_similarity((a, b), (a, b)) == 1.0
    # Both have each value as often, but never in the same pairs.
    same, crossed = np.array([0, 1]), np.array([1, 0])
    assert contingency_similarity((same, same), (same, crossed)) == 0.0
    assert contingency_similarity((a, b), (a[:2], b[:2])) == pytest.approx(0.5)


def test_numbers_are_put_into_ten_bins_of_the_real_values():
    edges = bin_edges(np.arange(101.0))
    assert len(edges) == 11
    assert binned(np.array([-5.0, 0, 9.9, 10, 99, 500, NAN]), edges).tolist() == [
        0, 0, 0, 1, 9, 9, -1
    ]  # fmt: skip


CODES = st.lists(st.integers(-1, 4), min_size=1, max_size=30).map(np.array)


@settings(deadline=None)
@given(a=CODES, b=CODES)
def test_likeness_is_symmetric_and_1_for_the_same_rows(a, b):
    assert contingency_similarity((a, a), (a, a)) == 1.0
    ours = contingency_similarity((a, a), (b, b))
    assert 0 <= ours <= 1
    assert ours == pytest.approx(contingency_similarity((b, b), (a, a)))
