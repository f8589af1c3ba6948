"""Replica exchange: chains in a row of machines, from an easy one to the one that learns.

h [rungs, chains, hidden] ──v ~ p_r(v | h)──► neighbours swap v ──h ~ p_r(h | v)──► h

Rung 0 is sampled exactly by one sweep (its weights are 0), the last one is the machine that learns.
A swap is accepted with probability min(1, p_r(v') p_s(v) / (p_r(v) p_s(v'))), so that the product
of all rungs' distributions stays where it is. Geyer (1991); for restricted machines Desjardins et
al. (2010), "Tempered Markov chain Monte Carlo for training of restricted Boltzmann machines".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import softplus

from training.label_units import draw_visible
from training.rbm import Rbm, draw


@runtime_checkable
class Rungs(Protocol):
    """Machines side by side, of one shape."""

    @property
    def visible_bias(self) -> Float[Tensor, "rungs visible"]:
        """b of each rung."""
        ...

    def visible_input(
        self, h: Float[Tensor, "rungs chains hidden"]
    ) -> Float[Tensor, "rungs chains visible"]:
        """Log-odds of v given h, each rung its own."""
        ...

    def hidden_input(
        self, v: Float[Tensor, "rungs chains visible"]
    ) -> Float[Tensor, "rungs chains hidden"]:
        """Log-odds of h given v, each rung its own."""
        ...


@dataclass(frozen=True)
class Stacked:
    """Any machines of one shape, their parameters stacked.

    Attributes:
        W: of each rung; bfloat16 halves the cost of the products, all else stays in float32.
        b, c: biases of each rung.
    """

    W: Float[Tensor, "rungs visible hidden"]
    b: Float[Tensor, "rungs visible"]
    c: Float[Tensor, "rungs hidden"]

    @classmethod
    def of(cls, machines: Sequence[Rbm]) -> Stacked:
        """Copies of the machines, in order."""
        return cls(
            W=torch.stack([m.W for m in machines]),
            b=torch.stack([m.b for m in machines]),
            c=torch.stack([m.c for m in machines]),
        )

    def __len__(self) -> int:
        return len(self.b)

    @property
    def visible_bias(self) -> Float[Tensor, "rungs visible"]:
        """As `Rungs` has it."""
        return self.b

    def visible_input(
        self, h: Float[Tensor, "rungs chains hidden"]
    ) -> Float[Tensor, "rungs chains visible"]:
        """As `Rungs` has it."""
        return (h.to(self.W.dtype) @ self.W.mT).to(h.dtype) + self.b[:, None]

    def hidden_input(
        self, v: Float[Tensor, "rungs chains visible"]
    ) -> Float[Tensor, "rungs chains hidden"]:
        """As `Rungs` has it."""
        return (v.to(self.W.dtype) @ self.W).to(v.dtype) + self.c[:, None]


@dataclass(frozen=True)
class Swept:
    """Chains after one sweep of replica exchange.

    Attributes:
        v: after the swap; h was drawn from it.
        h: the state.
        up: log p*_{r+1}(v) / p*_r(v) at the state that rung r had before the swap.
        down: the same at the state that rung r + 1 had.
        tried: which pairs (r, r + 1) swapped; `up` and `down` are NaN for the others.
    """

    v: Float[Tensor, "rungs chains visible"]
    h: Float[Tensor, "rungs chains hidden"]
    up: Float[Tensor, "pairs chains"]
    down: Float[Tensor, "pairs chains"]
    tried: Bool[Tensor, " pairs"]

    @property
    def acceptance(self) -> Float[Tensor, " pairs"]:
        """Mean probability that a swap is accepted; NaN where none was tried."""
        return (self.up - self.down).clamp(max=0).exp().mean(1)


def exchange_sweep(
    rungs: Rungs,
    h: Float[Tensor, "rungs chains hidden"],
    *,
    first: int,
    generator: torch.Generator,
    labels: int = 0,
) -> Swept:
    """Draw v, swap it between the pairs (first, first + 1), (first + 2, …) …, draw h.

    Args:
        rungs: the machines.
        h: hidden states; column j of all rungs is one system, independent of the others.
        first: 0 or 1; take turns, so that a state can climb the whole ladder.
        generator: of all noise.
        labels: how many of the last visible units are label units.
    """
    size, chains = h.shape[:2]
    log_odds = rungs.visible_input(h).flatten(0, 1)
    v = draw_visible(log_odds, labels=labels, generator=generator).view(size, chains, -1)
    partner, tried = _pairs(size, first, h.device)
    offered = v[partner]
    own, other = rungs.hidden_input(v), rungs.hidden_input(offered)
    # own_f[r] = F_r(v_r); other_f[r] is F_r of the partner's state.
    own_f, other_f = _free_energy(rungs, v, own), _free_energy(rungs, offered, other)
    up = _where_tried(own_f[:-1] - other_f[1:], tried)
    down = _where_tried(other_f[:-1] - own_f[1:], tried)
    accept = _accepted(up - down, tried, generator)[:, :, None]
    v = torch.where(accept, offered, v)
    p = torch.sigmoid(torch.where(accept, other, own))
    drawn = draw(p.flatten(0, 1), generator).view(size, chains, -1)
    return Swept(v=v, h=drawn, up=up, down=down, tried=tried)


def _pairs(
    rungs: int, first: int, device: torch.device
) -> tuple[Int64[Tensor, " rungs"], Bool[Tensor, " pairs"]]:
    """Whom each rung swaps with, itself where it has nobody; and which pairs (r, r + 1) swap."""
    tried = torch.zeros(rungs - 1, dtype=torch.bool, device=device)
    tried[first::2] = True
    partner = torch.arange(rungs, device=device)
    partner[:-1] += tried.long()
    partner[1:] -= tried.long()
    return partner, tried


def _free_energy(
    rungs: Rungs, v: Float[Tensor, "rungs chains visible"], x: Float[Tensor, "rungs chains hidden"]
) -> Float[Tensor, "rungs chains"]:
    """F_r(v) of each rung, from the hidden log-odds x."""
    bias = (v @ rungs.visible_bias[:, :, None]).squeeze(2)
    return -bias - softplus(x).sum(2)


def _where_tried(
    values: Float[Tensor, "pairs chains"], tried: Bool[Tensor, " pairs"]
) -> Float[Tensor, "pairs chains"]:
    return torch.where(tried[:, None], values, torch.nan)


def _accepted(
    log_ratio: Float[Tensor, "pairs chains"],
    tried: Bool[Tensor, " pairs"],
    generator: torch.Generator,
) -> Bool[Tensor, "rungs chains"]:
    """Metropolis: which rungs take the other's state. A pair that was not tried never does."""
    u = torch.rand(log_ratio.shape, generator=generator, device=log_ratio.device)
    accept = (u < log_ratio.exp()) & tried[:, None]
    none = torch.zeros_like(accept[:1])
    return torch.cat([accept, none]) | torch.cat([none, accept])


# Share of the newest try in the running acceptance.
ACCEPTANCE_RATE = 0.1


@dataclass
class Replicas:
    """The chains of every rung but the last, whose chains are the learner's particles.

    Attributes:
        h: states.
        acceptance: running mean of the swaps' acceptance between rungs r and r + 1.
        sweeps: done so far; its parity says which pairs swap next.
    """

    h: Float[Tensor, "helpers chains hidden"]
    acceptance: Float[Tensor, " helpers"]
    sweeps: int = 0

    @classmethod
    def begin(cls, *, helpers: int, particles: Float[Tensor, "chains hidden"]) -> Replicas:
        """All rungs at the particles' states."""
        return cls(
            h=particles.expand(helpers, -1, -1).clone(), acceptance=particles.new_ones(helpers)
        )

    def run(
        self,
        rungs: Rungs,
        particles: Float[Tensor, "chains hidden"],
        *,
        sweeps: int,
        generator: torch.Generator,
        labels: int = 0,
    ) -> tuple[Float[Tensor, "chains visible"], Float[Tensor, "chains hidden"]]:
        """Sweep all rungs and swap, `sweeps` times: the last rung's (v, h)."""
        assert sweeps > 0
        self.grow(len(particles))
        h = torch.cat([self.h, particles[None]])
        for _ in range(sweeps):
            first = self.sweeps % 2
            swept = exchange_sweep(rungs, h, first=first, generator=generator, labels=labels)
            seen = torch.where(swept.tried, swept.acceptance, self.acceptance)
            self.acceptance = self.acceptance.lerp(seen, ACCEPTANCE_RATE)
            self.sweeps += 1
            h = swept.h
        self.h = h[:-1]
        return swept.v[-1], h[-1]

    def grow(self, chains: int) -> None:
        """Have this many chains a rung: the first ones, or copies, as a learner's particles."""
        if self.h.shape[1] != chains:
            repeats = -(-chains // self.h.shape[1])
            self.h = self.h.repeat(1, repeats, 1)[:, :chains].contiguous()

    def append(self, h: Float[Tensor, "chains hidden"]) -> None:
        """One rung more, with these chains."""
        self.h = torch.cat([self.h, h[None]])
        self.acceptance = torch.cat([self.acceptance, self.acceptance.new_ones(1)])
