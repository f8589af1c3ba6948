"""The ladder of a machine's past: when it grows, what it knows, and how it is kept."""

import copy

import pytest
import torch

from training.bennett import base_log_z, ladder_log_z
from training.exact import binary_states, hidden_distribution, log_z
from training.rbm import Rbm, initialise
from training.rbm_learning import LearnerState, LearningRule, update
from training.trajectory import SWEEPS_BEFORE_FREEZING, Ladder, LadderRule

CPU = torch.device("cpu")
UPDATES = 150


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def prototypes(n: int = 200, visible: int = 16) -> torch.Tensor:
    """Four far-apart patterns with a little noise: modes that a plain chain seldom leaves."""
    g = generator(3)
    patterns = (torch.rand(4, visible, generator=g) < 0.5).float()
    flips = (torch.rand(n, visible, generator=g) < 0.02).float()
    return (patterns[torch.randint(4, (n,), generator=g)] - flips).abs()


def trained(updates: int, *, least: float = 0.6, seed: int = 1) -> tuple[LearnerState, Ladder]:
    data = prototypes()
    mean, g = data.mean(0), generator(seed)
    rbm = initialise(mean, hidden=8, scale=0.01, generator=g)
    state = LearnerState.begin(rbm, chains=100, visible_mean=mean)
    rule = LadderRule(least_acceptance=least)
    ladder = Ladder.begin(visible_mean=mean, particles=state.particles, rule=rule)
    learning = LearningRule(sweeps=1, chains="trajectory", ema_decay=0.9)
    for _ in range(updates):
        update(state, data, rule=learning, learning_rate=0.3, generator=g, exchange=ladder)
    return state, ladder


@pytest.fixture(scope="module")
def learned() -> tuple[LearnerState, Ladder]:
    return trained(UPDATES)


@pytest.fixture
def state_and_ladder(learned) -> tuple[LearnerState, Ladder]:
    return copy.deepcopy(learned)


def advance(ladder: Ladder, state: LearnerState, *, sweeps: int, precision="float32", seed=1):
    return ladder.advance(
        state.rbm, state.particles, sweeps=sweeps, precision=precision, generator=generator(seed)
    )


def test_a_ladder_begins_with_the_base_rates_and_grows_as_the_machine_moves_on(state_and_ladder):
    _, ladder = state_and_ladder
    assert ladder.frozen >= 3
    assert ladder.machines.W[0].abs().max() == 0
    norms = ladder.machines.W.flatten(1).norm(dim=1)
    assert torch.equal(norms[:-1], norms[:-1].sort().values)
    assert ladder.replicas.h.shape == (ladder.frozen, 100, 8)
    assert ladder.replicas.acceptance.min() > 0.1


def test_fewer_rungs_do_where_swaps_may_be_refused_more_often():
    few, many = (trained(80, least=least)[1].frozen for least in (0.1, 0.9))
    assert few < many


def test_a_ladder_at_its_most_rungs_stays_as_it_is(state_and_ladder):
    state, ladder = state_and_ladder
    before = ladder.frozen
    for most, after in ((before, before), (before + 1, before + 1)):
        ladder.rule = LadderRule(least_acceptance=1.1, most_rungs=most)
        for _ in range(2):
            advance(ladder, state, sweeps=SWEEPS_BEFORE_FREEZING)
        assert ladder.frozen == after


@pytest.mark.statistical
def test_the_ladder_knows_the_exact_log_z_within_its_own_error_bar(state_and_ladder):
    state, ladder = state_and_ladder
    base = Rbm(W=ladder.machines.W[0], b=ladder.machines.b[0], c=ladder.machines.c[0])
    rungs = ladder.rungs(state.averaged)
    h, g = torch.cat([ladder.replicas.h, state.particles[None]]), generator(7)
    found = ladder_log_z(rungs, h, base_log_z=base_log_z(base), sweeps=100, generator=g)
    assert found.error < 0.2
    assert abs(found.value - log_z(state.averaged)) < 4 * found.error


@pytest.mark.statistical
def test_chains_in_one_mode_find_the_others_by_the_ladder(state_and_ladder):
    """All chains begin in one state; the ladder's come to the machine's own mean activities."""
    state, ladder = state_and_ladder
    h = state.particles[:1].repeat(200, 1)
    ladder.rule = LadderRule(most_rungs=0)
    for step in range(25):
        _, h = ladder.advance(
            state.rbm, h, sweeps=4, precision="float32", generator=generator(step)
        )
    exact = hidden_distribution(state.rbm) @ binary_states(8)
    assert float((h.mean(0) - exact).abs().max()) < 5 * 0.5 / 200**0.5


def test_a_ladder_comes_back_from_a_checkpoint_bit_for_bit(state_and_ladder):
    state, ladder = state_and_ladder
    again = Ladder.restored(ladder.tensors(), CPU, rule=ladder.rule)
    for one, other in zip(
        advance(ladder, state, sweeps=5), advance(again, state, sweeps=5), strict=True
    ):
        assert torch.equal(one, other)
    assert again.frozen_at == ladder.frozen_at


def test_rungs_may_be_kept_at_half_precision(state_and_ladder):
    state, ladder = state_and_ladder
    v, _ = advance(ladder, state, sweeps=2, precision="bfloat16")
    assert v.dtype == torch.float32
    assert ladder.machines.W.dtype == torch.bfloat16
    assert ladder.rungs(state.rbm).W.dtype == torch.float32
