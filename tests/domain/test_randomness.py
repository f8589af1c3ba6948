"""Noise is a function of (seed, row, stream, step), and it has the distribution it claims."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.randomness import (
    SEED_LIMIT,
    RowNoise,
    Stream,
    draw_seed,
    logistic,
    standard_normal,
    uniform16,
)

seeds = st.integers(0, SEED_LIMIT - 1)
rows = st.integers(0, 2**40)
widths = st.integers(1, 50)


@given(seed=seeds, row=rows, width=widths, cut=st.integers(0, 6), steps=st.integers(1, 6))
def test_noise_at_a_step_does_not_depend_on_how_one_got_there(seed, row, width, cut, steps):
    key = {"seed": seed, "row": row, "stream": Stream.SWEEP, "width": width}
    in_parts = RowNoise(**key)
    parts = [in_parts.take(1)[0] for _ in range(cut + steps)]
    jumped = RowNoise(**key, step=cut).take(steps)
    assert np.array_equal(np.stack(parts[cut:]), jumped)
    pieces = RowNoise(**key)
    assert np.array_equal(np.concatenate([pieces.take(cut), pieces.take(steps)]), np.stack(parts))


@given(seed=seeds, n=st.integers(1, 5), more=st.integers(0, 5), width=widths)
def test_rows_are_a_prefix_of_more_rows(seed, n, more, width):
    few = standard_normal(seed=seed, rows=range(n), stream=Stream.LATENT, width=width)
    many = standard_normal(seed=seed, rows=range(n + more), stream=Stream.LATENT, width=width)
    assert few.tobytes() == many[:n].tobytes()


def test_seeds_rows_streams_and_steps_all_give_other_noise():
    base = {"seed": 1, "row": 1, "stream": Stream.SWEEP, "width": 64}
    others = [{"seed": 2}, {"row": 2}, {"stream": Stream.START}, {"step": 1}]
    drawn = [RowNoise(**(base | other)).take(1)[0] for other in ({}, *others)]
    assert len({d.tobytes() for d in drawn}) == len(drawn)


def test_the_streams_are_those_of_this_version_for_ever():
    noise = uniform16(seed=7, rows=[3], stream=Stream.SWEEP, width=4)
    assert noise.tolist() == [[967, 64799, 55750, 23541]]
    normal = standard_normal(seed=7, rows=[3], stream=Stream.LATENT, width=3)
    assert [x.hex() for x in normal[0].tolist()] == [
        "0x1.ef9a800000000p-5",
        "-0x1.6f19760000000p-5",
        "-0x1.1575e60000000p-1",
    ]


@pytest.mark.statistical
def test_uniform_integers_are_uniform():
    counts = np.bincount(
        uniform16(seed=1, rows=range(64), stream=Stream.SWEEP, width=4096).ravel() >> 8,
        minlength=256,
    )
    expected = 64 * 4096 / 256
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert abs(chi_square - 255) < 5 * np.sqrt(2 * 255)


def test_logistic_noise_is_the_logit_of_the_uniform_and_symmetric():
    u = np.arange(2**16, dtype=np.uint16)
    p = (u.astype(np.float64) + 0.5) / 2**16
    noise = logistic(u)
    assert noise == pytest.approx(np.log(p) - np.log1p(-p), rel=1e-7, abs=1e-9)
    assert (noise == -noise[::-1]).all()
    assert (np.diff(noise) > 0).all()


def test_drawn_seeds_fit_a_json_number():
    assert all(0 <= draw_seed() < 2**53 for _ in range(100))
