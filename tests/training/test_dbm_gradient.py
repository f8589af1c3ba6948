"""What a deep machine learns from, and the bound that sums layers out, against enumeration."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import softplus

from tests.training.test_dbm import SIZES, deep_machine, exact_statistics, generator, log_evidence
from training.dbm import Dbm, MeanField, mean_field, unnormalised_bound
from training.dbm_bound import held, summed_bound
from training.dbm_gradient import Statistics, half_summed, posterior_statistics
from training.exact import binary_states
from training.rbm import draw

ROWS = 40_000


def flat(found: Statistics) -> torch.Tensor:
    return torch.cat([t.flatten() for t in (*found.pairs, *found.means)]).double()


def assert_close(found: Statistics, exact: Statistics) -> None:
    """Each is a mean over ROWS draws of numbers in [0, 1]: 5 standard errors at most."""
    assert float((flat(found) - flat(exact)).abs().max()) < 5 * 0.5 / ROWS**0.5


@pytest.mark.statistical
@pytest.mark.parametrize("sizes", SIZES)
def test_sweeps_of_the_posterior_end_in_its_exact_statistics(sizes):
    dbm = deep_machine(*sizes, seed=1)
    row = binary_states(sizes[0])[5:6]
    v = row.expand(ROWS, -1)
    mu = mean_field(dbm, v, MeanField(updates=1))
    found = posterior_statistics(dbm, v, start=mu, sweeps=20, generator=generator())
    assert_close(found, exact_statistics(dbm, row))


@pytest.mark.statistical
@pytest.mark.parametrize("sizes", SIZES)
def test_chains_are_looked_at_without_bias(sizes):
    dbm = deep_machine(*sizes, seed=2, scale=0.7)
    g = generator()
    half = torch.full((1, 1), 0.5).double()
    odd = {layer: draw(half.expand(ROWS, dbm.sizes[layer]).contiguous(), g) for layer in dbm.odd}
    for _ in range(60):
        even, odd = dbm.sweep(odd, g)
    found, after = half_summed(dbm, even, g)
    assert_close(found, exact_statistics(dbm, None))
    assert after.keys() == odd.keys()


def test_a_layer_that_says_nothing_adds_no_noise():
    dbm = deep_machine(5, 4, 3)
    mute = Dbm(W=(dbm.W[0], torch.zeros(4, 3).double()), b=(*dbm.b[:2], torch.zeros(3).double()))
    even = {0: binary_states(5), 2: torch.ones(32, 3).double()}
    found, _ = half_summed(mute, even, generator())
    centred = found.pairs[1] - torch.outer(found.pairs[1].mean(1) * 2, found.means[2])
    assert torch.equal(found.means[2], torch.full((3,), 0.5).double())
    torch.testing.assert_close(centred, torch.zeros(4, 3).double())


@pytest.mark.parametrize("sizes", SIZES)
def test_the_layers_that_are_summed_out_are_summed_over_all_their_states(sizes):
    dbm = deep_machine(*sizes, seed=3)
    hidden = sizes[1:]
    states = binary_states(sum(hidden)).split(hidden, 1)
    v = binary_states(sizes[0])[3].expand(len(states[0]), -1)
    joint = -dbm.energy([v, *states])
    odd = {layer: states[layer - 1] for layer in dbm.odd}
    key = torch.cat(list(odd.values()), 1)
    alike = (key[:, None] == key[None]).all(2)
    expected = torch.logsumexp(torch.where(alike, joint[None], -torch.inf), 1)
    told = [softplus(dbm.input(layer, odd)).sum(1) for layer in dbm.even if layer > 0]
    torch.testing.assert_close(held(dbm, v, odd) + torch.stack(told).sum(0), expected)


@pytest.mark.parametrize("sizes", SIZES)
def test_the_bound_with_layers_summed_out_lies_between_mean_field_and_the_likelihood(sizes):
    dbm = deep_machine(*sizes, seed=4)
    v = binary_states(sizes[0])
    mu = mean_field(dbm, v, MeanField())
    found = summed_bound(
        dbm, v, log_z=0.0, rule=MeanField(), draws=2000, generator=generator(), batch=7
    )
    slack = 0.02
    assert found >= float(unnormalised_bound(dbm, mu).mean()) - slack
    assert found <= float(log_evidence(dbm, v).mean()) + slack
