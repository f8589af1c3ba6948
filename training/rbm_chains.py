"""The chains of a restricted machine that learns: sweeps, and who may help with them.

h [chains, hidden] ──v ~ p(v | h)──► v ──h ~ p(h | v)──► h          (× k, the products as they are)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from training.label_units import draw_visible
from training.rbm import Rbm, draw

ChainKind = Literal["persistent", "data", "tempering", "trajectory"]
Precision = Literal["float32", "bfloat16"]


@runtime_checkable
class Exchange(Protocol):
    """Chains of helpers beside the particles, which trade states with them."""

    def advance(
        self,
        rbm: Rbm,
        particles: Float[Tensor, "chains hidden"],
        *,
        sweeps: int,
        precision: Precision,
        generator: torch.Generator,
        labels: int = 0,
    ) -> tuple[Float[Tensor, "chains visible"], Float[Tensor, "chains hidden"]]:
        """The machine's last (v, h) after `sweeps` sweeps."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Name → tensor, for a checkpoint."""
        ...


def run_chains(
    rbm: Rbm,
    h: Float[Tensor, "chains hidden"],
    *,
    sweeps: int,
    precision: Precision,
    generator: torch.Generator,
    labels: int = 0,
) -> tuple[Float[Tensor, "chains visible"], Float[Tensor, "chains hidden"]]:
    """`sweeps` Gibbs sweeps from `h`: the last (v, h), as float32."""
    last = last_sweep(
        rbm, h, sweeps=sweeps, precision=precision, generator=generator, labels=labels
    )
    return last.v, last.h


@dataclass(frozen=True)
class Sweep:
    """One sweep: v, p(h = 1 | v), and h drawn from it."""

    v: Float[Tensor, "chains visible"]
    p: Float[Tensor, "chains hidden"]
    h: Float[Tensor, "chains hidden"]


def last_sweep(
    rbm: Rbm,
    h: Float[Tensor, "chains hidden"],
    *,
    sweeps: int,
    precision: Precision,
    generator: torch.Generator,
    labels: int = 0,
) -> Sweep:
    """`sweeps` ≥ 1 Gibbs sweeps from `h`: all of the last one, as float32."""
    assert sweeps > 0
    # Only the products are rounded: log-odds and probabilities stay in float32.
    W = rbm.W if precision == "float32" else rbm.W.bfloat16()
    for _ in range(sweeps):
        down = (h.to(W.dtype) @ W.T).to(h.dtype) + rbm.b
        v = draw_visible(down, labels=labels, generator=generator)
        p = torch.sigmoid((v.to(W.dtype) @ W).to(h.dtype) + rbm.c)
        h = draw(p, generator)
    return Sweep(v=v, p=p, h=h)
