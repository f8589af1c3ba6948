"""Diagnostics agree with theory on chains whose answer is known, and with arviz-stats on any."""

import math

import numpy as np
import pytest
from arviz_stats.base import array_stats
from hypothesis import given
from hypothesis import strategies as st

from service.domain.gibbs import effective_sample_size, split_rhat

seeds = st.integers(0, 2**32 - 1)


def autoregressive(*, chains, draws, rho, seed=0):
    """x_t = ρ·x_{t−1} + √(1 − ρ²)·ε: stationary, worth N(1 − ρ)/(1 + ρ) independent draws."""
    noise = np.random.default_rng(seed).standard_normal((chains, draws))
    x = noise.copy()
    for t in range(1, draws):
        x[:, t] = rho * x[:, t - 1] + math.sqrt(1 - rho**2) * noise[:, t]
    return x


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_effective_sample_size_of_an_autoregression(rho):
    x = autoregressive(chains=8, draws=4000, rho=rho)
    expected = x.size * (1 - rho) / (1 + rho)
    assert effective_sample_size(x) == pytest.approx(expected, rel=0.15)


def test_independent_chains_agree():
    assert split_rhat(autoregressive(chains=4, draws=1000, rho=0.0)) == pytest.approx(1, abs=0.01)


def test_chains_at_different_places_do_not_agree():
    x = autoregressive(chains=4, draws=1000, rho=0.0) + np.arange(4)[:, None]
    assert split_rhat(x) > 1.3


def test_one_drifting_chain_disagrees_with_itself():
    assert split_rhat(np.linspace(0, 1, 100)[None]) > 1.5


@given(
    seed=seeds,
    chains=st.integers(2, 12),
    draws=st.integers(4, 90),
    rho=st.floats(-0.98, 0.999),
    apart=st.sampled_from([0.0, 0.3, 100.0]),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
)
def test_arviz_stats_finds_the_same_on_any_chains(seed, chains, draws, rho, apart, scale):
    """Mixing, sticky, antithetic, far apart, short and long: "split" and "mean" in their words."""
    x = autoregressive(chains=chains, draws=draws, rho=rho, seed=seed)
    x = scale * (x + apart * np.arange(chains)[:, None] - 50.0)
    assert split_rhat(x) == pytest.approx(array_stats.rhat(x, method="split"), rel=1e-8)
    assert effective_sample_size(x) == pytest.approx(array_stats.ess(x, method="mean"), rel=1e-6)


@given(seed=seeds, draws=st.integers(8, 60), rho=st.floats(-0.9, 0.99))
def test_one_chain_is_judged_by_its_halves_as_arviz_stats_judges_two(seed, draws, rho):
    (x,) = autoregressive(chains=1, draws=draws, rho=rho, seed=seed)
    halves = np.stack([x[: draws // 2], x[-(draws // 2) :]])
    assert split_rhat(x[None]) == pytest.approx(
        array_stats.rhat(halves, method="identity"), rel=1e-8
    )
    assert effective_sample_size(x[None]) == pytest.approx(
        array_stats.ess(x[None], method="mean"), rel=1e-6
    )


@given(seed=seeds, draws=st.integers(4, 40), stuck=st.integers(1, 3))
def test_some_stuck_chains_among_moving_ones_count_as_in_arviz_stats(seed, draws, stuck):
    x = autoregressive(chains=4, draws=draws, rho=0.3, seed=seed)
    x[:stuck] = 1.5
    assert split_rhat(x) == pytest.approx(array_stats.rhat(x, method="split"), rel=1e-8)
    assert effective_sample_size(x) == pytest.approx(array_stats.ess(x, method="mean"), rel=1e-6)


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_chains_stuck_at_different_places_never_agree():
    x = np.repeat([[1.0], [2.0], [4.0]], 20, axis=1)
    assert split_rhat(x) == math.inf == array_stats.rhat(x, method="split")
    assert effective_sample_size(x) == pytest.approx(array_stats.ess(x, method="mean"))
    assert effective_sample_size(x) < 6


@given(chains=st.integers(2, 5), draws=st.integers(1, 3), seed=seeds)
def test_fewer_than_four_draws_are_not_a_number_as_in_arviz_stats(chains, draws, seed):
    x = np.random.default_rng(seed).standard_normal((chains, draws))
    assert math.isnan(array_stats.rhat(x, method="split"))
    assert math.isnan(array_stats.ess(x, method="mean"))
    assert math.isnan(split_rhat(x))
    assert math.isnan(effective_sample_size(x))


@pytest.mark.parametrize("value", [0.0, 0.1, -87.3])
def test_when_nothing_moves_there_is_nothing_to_judge_by(value):
    """arviz-stats calls it worth every draw; a chain that is stuck is worth none that we know."""
    x = np.full((4, 100), value)
    assert math.isnan(split_rhat(x))
    assert math.isnan(effective_sample_size(x))
    assert array_stats.ess(x, method="mean") == x.size
