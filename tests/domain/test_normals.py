"""Normals are quantiles of uniform integers, the same bytes everywhere."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.domain.normals import PIECES, TAIL, log, normals, quantile

LAST = 2**32 - 1
A_PIECE = 2**16
integers = st.integers(0, LAST)


def normal(integer: int) -> float:
    return float(normals(np.array([integer], np.uint32))[0])


@given(integers)
@example(TAIL * A_PIECE)
@example((PIECES - TAIL) * A_PIECE - 1)
def test_normals_are_nearly_the_quantile_of_their_integer(integer):
    assert normal(integer) == pytest.approx(
        NormalDist().inv_cdf((integer + 0.5) / 2**32), abs=0.0015
    )


@pytest.mark.parametrize("edge", [0, TAIL * A_PIECE - 1, LAST, (PIECES - TAIL) * A_PIECE])
def test_in_the_outermost_pieces_they_are_the_quantile_itself(edge):
    assert normal(edge) == pytest.approx(NormalDist().inv_cdf((edge + 0.5) / 2**32), rel=3e-7)


@given(integers, integers)
def test_a_larger_integer_never_gives_a_smaller_normal_but_for_rounding(one, other):
    low, high = sorted((one, other))
    assert normal(low) <= normal(high) + 1e-6


@given(integers)
def test_both_sides_are_alike_but_for_rounding(integer):
    assert normal(integer) == pytest.approx(-normal(LAST - integer), abs=1e-6)


@given(st.lists(integers, min_size=1, max_size=40), st.integers(1, 39))
def test_numbers_do_not_depend_on_those_beside_them(numbers, cut):
    together = normals(np.array(numbers, np.uint32))
    apart = [normals(np.array(part, np.uint32)) for part in (numbers[:cut], numbers[cut:])]
    assert together.tobytes() == np.concatenate(apart).tobytes()


@given(st.floats(1e-300, 1.0, exclude_max=True))
def test_the_logarithm_is_one(x):
    assert log(np.array([x]))[0] == pytest.approx(np.log(x), rel=1e-14, abs=1e-16)


@given(st.floats(1e-16, 1.0 - 1e-16))
def test_the_quantile_is_one(p):
    assert quantile(np.array([p]))[0] == pytest.approx(NormalDist().inv_cdf(p), rel=1e-9, abs=1e-13)


@pytest.mark.statistical
def test_normals_have_normal_moments():
    z = normals(np.random.default_rng(5).integers(0, LAST, 100_000, np.uint32, endpoint=True))
    n = z.size
    assert abs(z.mean()) < 5 / np.sqrt(n)
    assert abs((z**2).mean() - 1) < 5 * np.sqrt(2 / n)
    assert abs((z**4).mean() - 3) < 5 * np.sqrt(96 / n)
