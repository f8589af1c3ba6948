"""Replica exchange: every rung keeps its own distribution, by enumeration of the product."""

import pytest
import torch

from tests.training.test_exact import machine
from training.exact import binary_states, hidden_distribution, state_index
from training.label_units import with_label
from training.rbm import Rbm, draw
from training.replicas import Replicas, Stacked, exchange_sweep
from training.tempering import Tempered, TemperedChains

COLUMNS = 20_000
BASE = torch.tensor([0.5, -1.0, 0.2])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rung(tempered: Tempered, r: int) -> Rbm:
    """Rung r as a machine of its own."""
    beta = tempered.betas[r]
    return Rbm(W=beta * tempered.rbm.W, b=tempered.visible_bias[r], c=beta * tempered.rbm.c)


def tempered() -> tuple[Tempered, list[Rbm]]:
    rbm = machine(3, 2, seed=5, scale=1.5).to(torch.float32)
    rungs = Tempered(rbm, BASE, torch.tensor([0.0, 0.45, 1.0]))
    return rungs, [rung(rungs, r) for r in range(3)]


def stacked() -> tuple[Stacked, list[Rbm]]:
    """Three machines that have nothing in common but their shape."""
    machines = [machine(3, 2, seed=s, scale=1.5).to(torch.float32) for s in (1, 2, 3)]
    return Stacked.of(machines), machines


def product(machines) -> torch.Tensor:
    """p(h_0) p(h_1) p(h_2) over all 64 states."""
    p = torch.ones(1, dtype=torch.float64)
    for m in machines:
        p = torch.outer(p, hidden_distribution(m)).flatten()
    return p


def exact_draws(machines, *, seed: int) -> torch.Tensor:
    g = generator(seed)
    rows = [
        torch.multinomial(hidden_distribution(m), COLUMNS, replacement=True, generator=g)
        for m in machines
    ]
    return torch.stack([binary_states(2).float()[r] for r in rows])


def distance(h: torch.Tensor, p: torch.Tensor) -> tuple[float, float]:
    """Total variation between the columns' states and p, and its Monte-Carlo floor."""
    joint = h.permute(1, 0, 2).reshape(COLUMNS, -1)
    seen = torch.bincount(state_index(joint), minlength=len(p)) / COLUMNS
    floor = 0.5 * float((p * (1 - p) / COLUMNS).sqrt().sum())
    return 0.5 * float((seen - p).abs().sum()), floor


@pytest.mark.statistical
@pytest.mark.parametrize("make", [tempered, stacked])
def test_sweeps_and_swaps_leave_the_product_of_all_rungs_where_it_is(make):
    rungs, machines = make()
    p, h, g = product(machines), exact_draws(machines, seed=1), generator(2)
    for sweep in range(16):
        h = exchange_sweep(rungs, h, first=sweep % 2, generator=g).h
        if sweep in {0, 1, 3, 15}:
            found, floor = distance(h, p)
            assert found < 4 * floor, f"after {sweep + 1} sweeps: {found:.4f}, floor {floor:.4f}"


@pytest.mark.statistical
def test_the_stationarity_test_notices_swaps_that_are_always_accepted(monkeypatch):
    """It must fail where the acceptance is wrong."""

    def always(log_ratio, tried, _generator):
        accept = tried[:, None].expand(log_ratio.shape)
        none = torch.zeros_like(accept[:1])
        return torch.cat([accept, none]) | torch.cat([none, accept])

    monkeypatch.setattr("training.replicas._accepted", always)
    rungs, machines = stacked()
    h = exchange_sweep(rungs, exact_draws(machines, seed=1), first=0, generator=generator(2)).h
    found, floor = distance(h, product(machines))
    assert found > 4 * floor


@pytest.mark.statistical
def test_chains_that_begin_anywhere_come_to_the_product_of_all_rungs():
    rungs, machines = tempered()
    h = torch.zeros(3, COLUMNS, 2)
    g = generator(3)
    for sweep in range(30):
        h = exchange_sweep(rungs, h, first=sweep % 2, generator=g).h
    found, floor = distance(h, product(machines))
    assert found < 4 * floor


@pytest.mark.statistical
def test_label_units_stay_one_hot_through_swaps_and_keep_their_distribution():
    """Three pixels and three labels, enumerated with one label on."""
    machines = [machine(6, 2, seed=s, scale=0.8).to(torch.float32) for s in (4, 5)]
    pixels = binary_states(3).float().repeat_interleave(3, 0)
    states = with_label(pixels, torch.arange(3).repeat(8), labels=3)
    p_v = [torch.softmax(-m.free_energy(states).double(), 0) for m in machines]
    p = torch.outer(*p_v).flatten()
    g = generator(6)
    rows = [torch.multinomial(q, COLUMNS, replacement=True, generator=g) for q in p_v]
    h = torch.stack(
        [
            draw(torch.sigmoid(m.hidden_input(states[r])), g)
            for m, r in zip(machines, rows, strict=True)
        ]
    )
    floor = 0.5 * float((p * (1 - p) / COLUMNS).sqrt().sum())
    for done in range(1, 17):
        swept = exchange_sweep(Stacked.of(machines), h, first=0, generator=g, labels=3)
        h, v = swept.h, swept.v
        if done not in {1, 4, 16}:
            continue
        assert torch.equal(v[:, :, 3:].sum(2), torch.ones(2, COLUMNS))
        index = state_index(v[:, :, :3].flatten(0, 1)) * 3 + v[:, :, 3:].argmax(2).flatten()
        joint = index.view(2, COLUMNS)
        seen = torch.bincount(joint[0] * 24 + joint[1], minlength=24 * 24) / COLUMNS
        assert 0.5 * float((seen - p).abs().sum()) < 4 * floor, f"after {done} sweeps"


def test_the_pairs_take_turns_and_the_ratios_are_those_of_the_free_energies():
    rungs, machines = stacked()
    h = exact_draws(machines, seed=1)[:, :50]
    for first, tried in ((0, [True, False]), (1, [False, True])):
        swept = exchange_sweep(rungs, h, first=first, generator=generator(3))
        assert swept.tried.tolist() == tried
        low, high = machines[first], machines[first + 1]
        # A swap exchanges the two ratios with the states: as a set they stay what they were.
        v = swept.v[first : first + 2]
        ratio = [low.free_energy(x) - high.free_energy(x) for x in v]
        expected = torch.stack(ratio).sort(0).values
        found = torch.stack([swept.up[first], swept.down[first]]).sort(0).values
        torch.testing.assert_close(found, expected)
        assert swept.up[1 - first].isnan().all()


def test_equal_machines_always_swap():
    m = machine(3, 2).to(torch.float32)
    h = torch.zeros(2, 10, 2)
    swept = exchange_sweep(Stacked.of([m, m]), h, first=0, generator=generator())
    torch.testing.assert_close(swept.acceptance, torch.ones(1))


def test_bfloat16_products_leave_0_and_1_alone():
    rungs, machines = stacked()
    half = Stacked(W=rungs.W.bfloat16(), b=rungs.b, c=rungs.c)
    h = exact_draws(machines, seed=1)[:, :5]
    torch.testing.assert_close(half.visible_input(h), rungs.visible_input(h), atol=0.02, rtol=0)
    assert half.visible_input(h).dtype == torch.float32


def test_chains_grow_by_copies_and_shrink_to_the_first():
    replicas = Replicas.begin(helpers=2, particles=torch.arange(4.0).reshape(2, 2))
    replicas.grow(5)
    assert replicas.h[1, :, 0].tolist() == [0, 2, 0, 2, 0]
    replicas.grow(1)
    assert replicas.h.shape == (2, 1, 2)


def test_tempered_chains_come_back_from_a_checkpoint_bit_for_bit():
    rbm = machine(3, 2, seed=1).to(torch.float32)
    particles = torch.zeros(4, 2)
    chains = TemperedChains.begin(rungs=3, base_bias=BASE, particles=particles)

    def advance(which):
        return which.advance(rbm, particles, sweeps=3, precision="float32", generator=generator(1))

    advance(chains)
    again = TemperedChains.restored(chains.tensors(), torch.device("cpu"))
    assert torch.equal(advance(chains)[1], advance(again)[1])
    assert torch.equal(chains.replicas.acceptance, again.replicas.acceptance)
