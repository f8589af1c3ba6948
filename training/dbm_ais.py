"""Annealed importance sampling of a deep Boltzmann machine, over its odd layers.

base-rate model (W = 0, log Z known) ──β: 0 → 1──► machine           forward: underestimates log Z
samples of the machine ──β: 1 → 0──► base-rate model                 reverse: overestimates log Z

p_β*(h¹, h³, …) = exp(β Σ_odd b^l·h^l) Π_even Π_i (1 + exp((1-β) b₀^l_i + β input^l_i)): the visible
units and all other even layers are summed out, as Salakhutdinov & Hinton (2009), §3.3, do it with v
and h² of two hidden layers. b₀ is the log-odds of the data's base rates for v, and 0 elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from training.ais import LogZ, Progress, forward, reverse
from training.dbm import Dbm
from training.rbm import draw

Odd = dict[int, Tensor]


def ais(
    dbm: Dbm,
    *,
    base_bias: Float[Tensor, " visible"],
    runs: int,
    betas: int,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> LogZ:
    """Forward AIS, as `training.ais.forward` has it; `base_bias` is b₀ of the visible units."""
    path = _Path(dbm, base_bias.to(dbm.b[0]))
    return forward(path, runs=runs, betas=betas, generator=generator, progress=progress)


def reverse_ais(
    dbm: Dbm,
    odd: Odd,
    *,
    base_bias: Float[Tensor, " visible"],
    betas: int,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> LogZ:
    """Reverse AIS from samples of the machine's odd layers, as `training.ais.reverse` has it."""
    path = _Path(dbm, base_bias.to(dbm.b[0]))
    return reverse(path, path.at(odd), betas=betas, generator=generator, progress=progress)


@dataclass(frozen=True)
class _State:
    """Odd layers, and the even layers' inputs from them."""

    odd: Odd
    x: dict[int, Tensor]


@dataclass(frozen=True)
class _Path:
    dbm: Dbm
    base: Float[Tensor, " visible"]

    @property
    def base_log_z(self) -> float:
        """All hidden units are free, so each contributes log 2."""
        hidden = sum(self.dbm.sizes[1:])
        return float(softplus(self.base.double()).sum()) + hidden * math.log(2)

    def at(self, odd: Odd) -> _State:
        return _State(odd, {layer: self.dbm.input(layer, odd) for layer in self.dbm.even})

    def begin(self, runs: int, generator: torch.Generator) -> _State:
        half = self.base.new_tensor(0.5)
        sizes = {layer: self.dbm.sizes[layer] for layer in self.dbm.odd}
        return self.at({layer: draw(half.expand(runs, n), generator) for layer, n in sizes.items()})

    def sweep(self, state: _State, *, beta: float, generator: torch.Generator) -> _State:
        even = {
            layer: draw(torch.sigmoid(self._log_odds(layer, x, beta)), generator)
            for layer, x in state.x.items()
        }
        odd = {
            layer: draw(torch.sigmoid(beta * self.dbm.input(layer, even)), generator)
            for layer in self.dbm.odd
        }
        return self.at(odd)

    def log_ratio(self, state: _State, *, low: float, high: float) -> Float[Tensor, " runs"]:
        dbm = self.dbm
        biases = torch.stack([state.odd[layer] @ dbm.b[layer] for layer in dbm.odd]).sum(0)
        total = (high - low) * biases.double()
        for layer, x in state.x.items():
            # Summed as differences: each is small, where the two sums are large and nearly equal.
            upper = softplus(self._log_odds(layer, x, high))
            lower = softplus(self._log_odds(layer, x, low))
            total = total + (upper - lower).sum(1, dtype=torch.float64)
        return total

    def _log_odds(self, layer: int, x: Tensor, beta: float) -> Float[Tensor, "runs units"]:
        """(1 - β) b₀ + β·input, of an even layer at β."""
        return (1 - beta) * self.base + beta * x if layer == 0 else beta * x
