"""AIS of a deep machine against exact log Z: within its interval, and bracketed by directions."""

import math

import pytest
import torch

from tests.training.test_dbm import deep_machine, generator, joint, log_partition
from training.dbm import Dbm
from training.dbm_ais import ais, reverse_ais

RUNS = 400
SIZES = [(6, 5, 5), (5, 4, 4, 3)]


def exact_samples(dbm: Dbm, n: int, *, seed: int) -> dict[int, torch.Tensor]:
    """Odd layers of exact samples."""
    states = joint(dbm)
    p = torch.softmax(-dbm.energy(states), 0)
    rows = torch.multinomial(p, n, replacement=True, generator=generator(seed))
    return {layer: states[layer][rows] for layer in dbm.odd}


@pytest.mark.statistical
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_ais_finds_the_exact_log_z_within_its_interval(sizes, precision):
    dbm = deep_machine(*sizes, seed=sum(sizes), scale=0.8)
    base = torch.linspace(-1, 1, sizes[0])
    found = ais(dbm.to(precision), base_bias=base, runs=RUNS, betas=500, generator=generator(3))
    assert found.low < float(log_partition(dbm)) < found.high
    assert found.high - found.low < 1


@pytest.mark.statistical
@pytest.mark.parametrize("sizes", SIZES)
def test_reverse_ais_from_exact_samples_finds_it_too(sizes):
    dbm = deep_machine(*sizes, seed=1, scale=0.8)
    odd = exact_samples(dbm, RUNS, seed=4)
    found = reverse_ais(dbm, odd, base_bias=dbm.b[0], betas=500, generator=generator(5))
    assert found.low < float(log_partition(dbm)) < found.high


@pytest.mark.statistical
def test_forward_and_reverse_runs_bracket_log_z_on_average():
    """E[log w] is a lower bound forwards and an upper one in reverse: Jensen's inequality."""
    dbm = deep_machine(6, 5, 5, seed=2, scale=1.5)
    exact = float(log_partition(dbm))
    base = torch.zeros(6)
    forward = ais(dbm, base_bias=base, runs=RUNS, betas=8, generator=generator(6))
    odd = exact_samples(dbm, RUNS, seed=7)
    backward = reverse_ais(dbm, odd, base_bias=base, betas=8, generator=generator(8))
    offset = 16 * math.log(2)
    assert offset + float(forward.log_weights.mean()) < exact
    assert offset - float(backward.log_weights.mean()) > exact


def test_a_machine_equal_to_its_base_needs_no_annealing():
    b = (torch.linspace(-1, 1, 5), torch.zeros(3), torch.zeros(4))
    dbm = Dbm(W=(torch.zeros(5, 3), torch.zeros(3, 4)), b=b)
    told: list[int] = []
    found = ais(dbm, base_bias=b[0], runs=10, betas=3, generator=generator(0), progress=told.append)
    assert found.value == pytest.approx(float(log_partition(dbm.to(torch.float64))), abs=1e-6)
    assert found.log_weights.abs().max() < 1e-6
    assert told == [1, 2]
