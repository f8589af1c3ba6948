"""AIS against exact log Z: within its interval, and bracketed by its two directions."""

import math

import pytest
import torch

from tests.training.test_exact import machine
from training.ais import beta_schedule
from training.exact import binary_states, log_likelihood, log_z, visible_distribution
from training.rbm import Rbm
from training.rbm_ais import ais, reverse_ais
from training.rbm_evaluation import Machine

RUNS = 400


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def exact_samples(rbm: Rbm, n: int, *, seed: int) -> torch.Tensor:
    states = binary_states(len(rbm.b))
    p = visible_distribution(rbm)
    rows = torch.multinomial(p, n, replacement=True, generator=generator(seed))
    return states[rows].to(rbm.b)


def test_the_schedule_rises_from_zero_to_one_and_is_densest_near_one():
    betas = beta_schedule(1000)
    assert betas[0] == 0
    assert betas[-1] == 1
    gaps = betas.diff()
    assert bool((gaps > 0).all())
    assert gaps[0] > 10 * gaps[-1]
    with pytest.raises(ValueError, match="betas=1"):
        beta_schedule(1)


@pytest.mark.statistical
@pytest.mark.parametrize("shape", [(6, 12), (12, 6), (10, 10)])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_ais_finds_the_exact_log_z_within_its_interval(shape, precision):
    rbm = machine(*shape, seed=sum(shape), scale=0.8)
    found = ais(
        rbm.to(precision),
        base_bias=torch.zeros(shape[0]),
        runs=RUNS,
        betas=500,
        generator=generator(3),
    )
    assert found.low < log_z(rbm) < found.high
    assert found.high - found.low < 1
    assert found.low < found.value < found.high


@pytest.mark.statistical
def test_reverse_ais_from_exact_samples_finds_it_too():
    rbm = machine(10, 8, seed=1, scale=0.8)
    v = exact_samples(rbm, RUNS, seed=4)
    found = reverse_ais(rbm, v, base_bias=rbm.b, betas=500, generator=generator(5))
    assert found.low < log_z(rbm) < found.high


@pytest.mark.statistical
def test_forward_and_reverse_runs_bracket_log_z_on_average():
    """E[log w] is a lower bound forwards and an upper one in reverse: Jensen's inequality.

    With few temperatures the gap is wide, so that the mean log weights tell the two apart.
    """
    rbm = machine(10, 8, seed=2, scale=1.5)
    exact = log_z(rbm)
    base = torch.zeros(10)
    forward = ais(rbm, base_bias=base, runs=RUNS, betas=8, generator=generator(6))
    v = exact_samples(rbm, RUNS, seed=7)
    backward = reverse_ais(rbm, v, base_bias=base, betas=8, generator=generator(8))
    offset = 10 * math.log(2) + 8 * math.log(2)
    assert offset + float(forward.log_weights.mean()) < exact
    assert offset - float(backward.log_weights.mean()) > exact


def test_a_machine_equal_to_its_base_needs_no_annealing():
    rbm = Rbm(W=torch.zeros(5, 3), b=torch.linspace(-1, 1, 5), c=torch.zeros(3))
    found = ais(rbm, base_bias=rbm.b, runs=10, betas=2, generator=generator(0))
    assert found.value == pytest.approx(log_z(rbm), abs=1e-6)
    assert found.log_weights.abs().max() < 1e-6


def test_the_mean_log_probability_is_the_exact_one_given_log_z():
    rbm = machine(6, 4)
    v = exact_samples(rbm, 20, seed=1)
    found = Machine(rbm).mean_log_probability(v, log_z=log_z(rbm))
    assert found == pytest.approx(float(log_likelihood(rbm, v)))


def test_the_same_generator_state_gives_the_same_estimate_and_progress_is_told():
    rbm = machine(6, 4)
    told = []
    runs = [
        ais(
            rbm,
            base_bias=torch.zeros(6),
            runs=5,
            betas=20,
            generator=generator(1),
            progress=told.append,
        )
        for _ in range(2)
    ]
    assert torch.equal(runs[0].log_weights, runs[1].log_weights)
    assert told == [*range(1, 20)] * 2
