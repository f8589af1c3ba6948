"""Gibbs sampling of a Boltzmann machine: unit by unit, block by block, or annealed.

x ──for each block: x_i ← [logistic noise_i < β·(b_i + Σ_j W_ij x_j)]──► x          (one sweep)

The order of the blocks is an argument: colour blocks (alternating Gibbs), single units in order, or
single units in an order of its own for each sweep (`random_scan`). Geman & Geman (1984),
"Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of images". Noise is an
input too: what is exported takes the same and gives the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from training.bm import Bm
from training.bm_connections import Blocks, place
from training.rbm import NOISE_LEVELS, noise16

Scan = Literal["blocks", "units", "random"]
States = Float[Tensor, "rows units"]


@dataclass(frozen=True)
class Held:
    """Units that are not drawn.

    Attributes:
        mask: which, in each row.
        values: what they are held at, 0 or 1; of no consequence elsewhere.
    """

    mask: Bool[Tensor, "rows units"]
    values: States


def logistic_noise(rows: int, units: int, generator: torch.Generator) -> States:
    """logit((u + ½) / 65,536) of uniform 16-bit integers u, on the generator's device."""
    u = noise16((rows, units), generator).float()
    return torch.logit((u + (NOISE_LEVELS / 2 + 0.5)) / NOISE_LEVELS)


def random_scan(blocks: Blocks, generator: torch.Generator) -> Blocks:
    """The units of the blocks one by one, in a random order: every sweep has its own."""
    units = [unit for block in blocks for unit in block]
    order = torch.randperm(len(units), generator=generator, device=generator.device)
    return tuple((units[i],) for i in order.tolist())


def sweep(
    bm: Bm,
    x: States,
    noise: States,
    *,
    order: Blocks,
    beta: float | Float[Tensor, "rows 1"] = 1.0,
    held: Held | None = None,
) -> States:
    """One sweep over the blocks of `order`; units that are in none of them stay.

    Args:
        bm: the machine.
        x: 0.0 or 1.0 each.
        noise: logistic.
        order: blocks of units that are not connected with each other.
        beta: inverse temperature 1/T, of all rows or of each.
        held: units that are not drawn.
    """
    x = x.clone() if held is None else torch.where(held.mask, held.values, x)
    for block in order:
        at = place(block)
        on = (noise[:, at] < beta * bm.input(x, at)).to(x.dtype)
        if held is not None:
            on = torch.where(held.mask[:, at], held.values[:, at], on)
        x[:, at] = on
    return x


def run_chains(
    bm: Bm,
    x: States,
    *,
    sweeps: int,
    blocks: Blocks,
    generator: torch.Generator,
    scan: Scan = "blocks",
    beta: float = 1.0,
    held: Held | None = None,
) -> States:
    """`sweeps` sweeps from x: over the colour blocks, or over their units one by one."""
    for order in _orders(blocks, sweeps, scan, generator):
        noise = logistic_noise(len(x), bm.units, generator)
        x = sweep(bm, x, noise, order=order, beta=beta, held=held)
    return x


def _orders(
    blocks: Blocks, sweeps: int, scan: Scan, generator: torch.Generator
) -> Iterator[Blocks]:
    alone = tuple((unit,) for block in blocks for unit in block)
    for _ in range(sweeps):
        if scan == "random":
            yield random_scan(blocks, generator)
        else:
            yield blocks if scan == "blocks" else alone


def geometric_temperatures(sweeps: int, *, hottest: float, coldest: float) -> tuple[float, ...]:
    """T_k = hottest · (coldest / hottest)^(k / (sweeps - 1)). Kirkpatrick, Gelatt & Vecchi (1983).

    Raises:
        ValueError: fewer than two sweeps, or temperatures that are not positive and falling.
    """
    if sweeps < 2:
        raise ValueError(f"sweeps={sweeps} must be at least 2: a schedule has two ends")
    if not 0 < coldest <= hottest:
        raise ValueError(f"temperatures {hottest} to {coldest} must fall and stay above 0")
    ratio = coldest / hottest
    return tuple(hottest * ratio ** (k / (sweeps - 1)) for k in range(sweeps))


@dataclass(frozen=True)
class Annealed:
    """What annealing found in each row.

    Attributes:
        states: the state of lowest energy that the row has seen after any sweep.
        energies: theirs.
        trace: energies after each sweep.
    """

    states: States
    energies: Float[Tensor, " rows"]
    trace: Float[Tensor, "sweeps rows"]


def anneal(
    bm: Bm,
    x: States,
    *,
    temperatures: tuple[float, ...],
    blocks: Blocks,
    generator: torch.Generator,
    scan: Scan = "blocks",
    held: Held | None = None,
) -> Annealed:
    """Simulated annealing: a sweep at each temperature; with units held, of the others alone.

    Args:
        bm: the machine.
        x: where the rows begin.
        temperatures: T > 0 of each sweep, as `geometric_temperatures` gives them.
        blocks: what a sweep draws.
        generator: of the noise.
        scan: how a sweep goes through the blocks.
        held: units that keep their values.
    """
    best = x if held is None else torch.where(held.mask, held.values, x)
    lowest = bm.energy(best)
    trace = []
    for temperature in temperatures:
        x = run_chains(bm, x, sweeps=1, blocks=blocks, generator=generator, scan=scan,
                       beta=1 / temperature, held=held)  # fmt: skip
        energies = bm.energy(x)
        best = torch.where((energies < lowest)[:, None], x, best)
        lowest = torch.minimum(energies, lowest)
        trace.append(energies)
    return Annealed(states=best, energies=lowest, trace=torch.stack(trace))
