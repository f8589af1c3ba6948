"""AIS of a machine with any connections against exact log Z and exact evidence."""

import pytest
import torch

from tests.training.test_bm import KINDS, VISIBLE, generator, links_of, machine_of
from tests.training.test_exact import machine as restricted_machine
from training import bm_exact
from training import rbm_ais as restricted
from training.bm import Bm, bm_of, mean_field, unnormalised_bound
from training.bm_ais import ais, log_evidence, reverse_ais
from training.bm_connections import colour_blocks
from training.exact import binary_states

RUNS = 400


def blocks_of(kind: str):
    return colour_blocks(links_of(kind), visible=VISIBLE)


def exact_samples(bm: Bm, n: int, *, seed: int) -> torch.Tensor:
    p = bm_exact.distribution(bm)
    rows = torch.multinomial(p, n, replacement=True, generator=generator(seed))
    return binary_states(bm.units)[rows]


@pytest.mark.statistical
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_ais_and_reverse_ais_find_the_exact_log_z_within_their_intervals(kind, precision):
    bm = machine_of(kind, seed=1, scale=0.8)
    base = torch.linspace(-1, 1, 10)
    exact = float(bm_exact.log_z(bm))
    options = {"base_bias": base, "betas": 400, "blocks": blocks_of(kind)}
    forward = ais(bm.to(precision), runs=RUNS, generator=generator(3), **options)
    x = exact_samples(bm, RUNS, seed=4).to(precision)
    backward = reverse_ais(bm.to(precision), x, generator=generator(5), **options)
    for found in (forward, backward):
        assert found.low < exact < found.high
        assert found.high - found.low < 1


@pytest.mark.statistical
@pytest.mark.parametrize("kind", ["full", "neighbours"])
def test_forward_and_reverse_runs_bracket_log_z_on_average(kind):
    """E[log w] is a lower bound forwards and an upper one in reverse: Jensen's inequality."""
    bm = machine_of(kind, seed=2, scale=1.2)
    exact, base = float(bm_exact.log_z(bm)), torch.zeros(10)
    options = {"base_bias": base, "betas": 8, "blocks": blocks_of(kind)}
    forward = ais(bm, runs=RUNS, generator=generator(6), **options)
    backward = reverse_ais(bm, exact_samples(bm, RUNS, seed=7), generator=generator(8), **options)
    offset = 10 * 0.6931471805599453
    assert offset + float(forward.log_weights.mean()) < exact
    assert offset - float(backward.log_weights.mean()) > exact


def test_a_restricted_machine_is_annealed_as_one():
    """The last block is summed out: at two temperatures no sweep is made, and both agree."""
    rbm = restricted_machine(6, 4)
    bm = bm_of({"weight.1": rbm.W, "bias.0": rbm.b, "bias.1": rbm.c})
    base = torch.cat([torch.linspace(-1, 1, 6), torch.zeros(4)])
    blocks = colour_blocks(links_of("restricted"), visible=6)
    ours = ais(bm, base_bias=base, runs=2000, betas=30, blocks=blocks, generator=generator(1))
    theirs = restricted.ais(rbm, base_bias=base[:6], runs=2000, betas=30, generator=generator(2))
    assert ours.value == pytest.approx(theirs.value, abs=ours.high - ours.low)
    spread = [float(found.log_weights.std()) for found in (ours, theirs)]
    assert spread[0] == pytest.approx(spread[1], rel=0.2)


def test_a_machine_equal_to_its_base_needs_no_annealing_and_progress_is_told():
    b = torch.linspace(-1, 1, 10)
    bm = Bm(W=torch.zeros(10, 10), b=b, visible=VISIBLE)
    told: list[int] = []
    found = ais(
        bm,
        base_bias=b,
        runs=10,
        betas=3,
        blocks=blocks_of("full"),
        generator=generator(0),
        progress=told.append,
    )
    assert found.value == pytest.approx(float(bm_exact.log_z(bm)), abs=1e-6)
    assert found.log_weights.abs().max() < 1e-6
    assert told == [1, 2]


@pytest.mark.statistical
@pytest.mark.parametrize("kind", KINDS)
def test_the_evidence_by_annealing_from_mean_field_is_the_exact_one(kind):
    bm = machine_of(kind, seed=6)
    v = binary_states(VISIBLE)[::5]
    exact = bm_exact.log_evidence(bm, v)
    found = log_evidence(bm, v, runs=500, betas=30, generator=generator(1))
    torch.testing.assert_close(found, exact, atol=0.02, rtol=0)
    bound = unnormalised_bound(bm, mean_field(bm, v))
    assert float((exact - found).abs().mean()) <= float((exact - bound).mean()) + 1e-9
