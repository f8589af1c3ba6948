"""Every kernel leaves the enumerated distribution where it is; annealing finds ground states."""

import numpy as np
import pytest
import torch

from tests.training.test_bm import KINDS, generator, random_bm
from training.bm import Bm
from training.bm_connections import colour_blocks, connections, hidden_blocks, single_units
from training.bm_exact import distribution
from training.bm_sampling import (
    Held,
    anneal,
    geometric_temperatures,
    logistic_noise,
    random_scan,
    run_chains,
)
from training.exact import binary_states, state_index

CHAINS = 20_000
# Few states, so that sampling noise is small; the first and the last pixel are no neighbours.
SHAPE = (1, 1, 3)
VISIBLE, HIDDEN, UNITS = 3, 2, 5


def links_of(kind: str) -> torch.Tensor:
    visible_links, hidden_links = KINDS[kind]
    return connections(SHAPE, hidden=HIDDEN, visible_links=visible_links, hidden_links=hidden_links)


def machine_of(kind: str, *, seed: int = 0, scale: float = 1.0) -> Bm:
    return random_bm(links_of(kind), visible=VISIBLE, seed=seed, scale=scale)


def exact_states(p: torch.Tensor, *, seed: int = 5) -> torch.Tensor:
    rows = torch.multinomial(p, CHAINS, replacement=True, generator=generator(seed))
    return binary_states(UNITS).float()[rows]


def distance_in_floors(x: torch.Tensor, p: torch.Tensor) -> float:
    """Total variation between states and p, in units of what sampling noise alone makes it."""
    # E|p̂ − p| ≤ √(p(1 − p)/n) for each state.
    floor = 0.5 * float((p * (1 - p) / len(x)).sqrt().sum())
    seen = torch.bincount(state_index(x), minlength=len(p)) / len(x)
    return 0.5 * float((seen - p).abs().sum()) / floor


def assert_stays(bm: Bm, p: torch.Tensor, *, sweeps=(1, 4, 16), **options) -> None:
    """20,000 chains that begin at exact draws from p are draws from p after every sweep."""
    x, done = exact_states(p), 0
    blocks = options.pop("blocks")
    for count in sweeps:
        x = run_chains(
            bm, x, sweeps=count - done, blocks=blocks, generator=generator(count), **options
        )
        done = count
        far = distance_in_floors(x, p)
        assert far < 4, f"after {count} sweeps: {far:.2f} floors"


@pytest.mark.statistical
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scan", ["blocks", "units", "random"])
@pytest.mark.parametrize("beta", [1.0, 0.6])
def test_sweeps_leave_the_exact_distribution_where_it_is(kind, scan, beta):
    bm = machine_of(kind, seed=1, scale=1.5)
    blocks = colour_blocks(links_of(kind), visible=VISIBLE)
    p = distribution(bm, beta=beta)
    assert_stays(bm.to(torch.float32), p, blocks=blocks, scan=scan, beta=beta)


@pytest.mark.statistical
def test_the_stationarity_test_notices_connected_units_that_are_drawn_at_once():
    bm = machine_of("full", seed=1, scale=1.5).to(torch.float32)
    wrong = (tuple(range(VISIBLE)), tuple(range(VISIBLE, UNITS)))
    with pytest.raises(AssertionError, match="after"):
        assert_stays(bm, distribution(bm), blocks=wrong)


@pytest.mark.statistical
@pytest.mark.parametrize("kind", ["full", "neighbours"])
def test_a_wrong_temperature_is_noticed(kind):
    bm = machine_of(kind, seed=1, scale=1.5).to(torch.float32)
    blocks = colour_blocks(links_of(kind), visible=VISIBLE)
    with pytest.raises(AssertionError, match="after"):
        assert_stays(bm, distribution(bm, beta=1.3), blocks=blocks)


@pytest.mark.statistical
@pytest.mark.parametrize("kind", KINDS)
def test_held_units_leave_the_exact_conditional_where_it_is(kind):
    """p(x | x₀ = 1, x₄ = 1) by enumeration."""
    bm = machine_of(kind, seed=2, scale=1.5)
    states = binary_states(UNITS)
    p = distribution(bm) * (states[:, 0] == 1) * (states[:, 4] == 1)
    mask = torch.zeros(CHAINS, UNITS, dtype=torch.bool)
    mask[:, [0, 4]] = True
    # What a unit that is not held would be held at must not matter.
    values = torch.ones(CHAINS, UNITS)
    blocks = colour_blocks(links_of(kind), visible=VISIBLE)
    held = Held(mask=mask, values=values)
    assert_stays(bm.to(torch.float32), p / p.sum(), blocks=blocks, held=held)


@pytest.mark.statistical
def test_sweeps_of_hidden_blocks_alone_sample_the_exact_posterior():
    bm = machine_of("full", seed=3, scale=1.5)
    v = torch.tensor([1.0, 0, 1])
    states = binary_states(UNITS)
    p = distribution(bm) * (states[:, :VISIBLE] == v).all(1)
    blocks = hidden_blocks(colour_blocks(links_of("full"), visible=VISIBLE), visible=VISIBLE)
    x = torch.cat([v.expand(CHAINS, -1), torch.zeros(CHAINS, HIDDEN)], 1)
    x = run_chains(bm.to(torch.float32), x, sweeps=40, blocks=blocks, generator=generator(1))
    assert bool((x[:, :VISIBLE] == v).all())
    assert distance_in_floors(x, p / p.sum()) < 4


def test_noise_is_logistic():
    noise = logistic_noise(2000, 50, generator())
    assert bool(torch.isfinite(noise).all())
    on = torch.sigmoid(noise)
    assert float(on.mean()) == pytest.approx(0.5, abs=5 * 0.289 / 100_000**0.5)
    assert float((noise < -1.0).double().mean()) == pytest.approx(
        float(torch.sigmoid(torch.tensor(-1.0))), abs=5 * 0.44 / 100_000**0.5
    )


def test_a_random_scan_draws_every_unit_once_in_an_order_of_its_own():
    g = generator()
    blocks = ((0, 1, 2), (5,))
    orders = {random_scan(blocks, g) for _ in range(20)}
    assert all(sorted(order) == [(0,), (1,), (2,), (5,)] for order in orders)
    assert len(orders) > 10


def frustrated(seed: int) -> Bm:
    """A full machine of 12 units whose links, ±8 at random, cannot all be content."""
    links = connections((1, 1, 12), hidden=0)
    bm = random_bm(links, visible=12, seed=seed)
    W = 8 * torch.sign(bm.W)
    # b = -W1/2 makes it a spin glass in a weak field: flipping all units changes little.
    return Bm(W=W, b=-W.sum(1) / 2 + 3 * bm.b, visible=12).to(torch.float32)


@pytest.mark.statistical
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_annealing_finds_the_ground_state_more_often_than_sampling_does(seed):
    """Of 500 rows with 200 sweeps each, by the best state that each has seen."""
    bm, rows, sweeps = frustrated(seed), 500, 200
    ground = bm.energy(binary_states(12).float()).min()
    x = (torch.rand(rows, 12, generator=generator(1)) < 0.5).float()
    schedules = {
        "annealed": geometric_temperatures(sweeps, hottest=30.0, coldest=0.3),
        "at T = 1": (1.0,) * sweeps,
    }
    share = {}
    for name, temperatures in schedules.items():
        found = anneal(
            bm, x, temperatures=temperatures, blocks=single_units(12), generator=generator(2)
        )
        share[name] = float((found.energies < ground + 1e-3).double().mean())
    assert share["annealed"] > share["at T = 1"] + 0.15
    assert share["annealed"] > 0.75


def test_annealing_keeps_the_best_state_of_each_row_and_the_whole_trace():
    bm = frustrated(3)
    x = (torch.rand(20, 12, generator=generator(1)) < 0.5).float()
    found = anneal(
        bm, x, temperatures=(5.0, 1.0, 5.0), blocks=single_units(12), generator=generator(2)
    )
    assert found.trace.shape == (3, 20)
    torch.testing.assert_close(bm.energy(found.states), found.energies)
    everything = torch.cat([bm.energy(x)[None], found.trace])
    torch.testing.assert_close(found.energies, everything.min(0).values)


def test_annealing_with_units_held_finds_their_most_probable_companion():
    bm = machine_of("full", seed=5, scale=1.5).to(torch.float32)
    mask = torch.zeros(200, UNITS, dtype=torch.bool)
    mask[:, :2] = True
    values = torch.tensor([1.0, 0, 0, 0, 0]).repeat(200, 1)
    held = Held(mask=mask, values=values)
    found = anneal(
        bm,
        torch.zeros(200, UNITS),
        temperatures=geometric_temperatures(40, hottest=5.0, coldest=0.1),
        blocks=colour_blocks(links_of("full"), visible=VISIBLE),
        generator=generator(1),
        held=held,
    )
    states = binary_states(UNITS).float()
    allowed = states[(states[:, :2] == values[0, :2]).all(1)]
    best = allowed[bm.energy(allowed).argmin()]
    assert bool((found.states[:, :2] == values[:, :2]).all())
    assert float((found.states == best).all(1).double().mean()) > 0.9


def test_temperatures_fall_geometrically_from_the_hottest_to_the_coldest():
    schedule = np.array(geometric_temperatures(5, hottest=8.0, coldest=0.5))
    np.testing.assert_allclose(schedule, [8, 4, 2, 1, 0.5])
    with pytest.raises(ValueError, match="sweeps=1"):
        geometric_temperatures(1, hottest=2.0, coldest=1.0)
    with pytest.raises(ValueError, match="must fall"):
        geometric_temperatures(5, hottest=1.0, coldest=2.0)
