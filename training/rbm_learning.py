"""How a restricted Boltzmann machine learns: stochastic maximum likelihood, centred.

data ──────────────────► <v hᵀ>, <v>, <h> of the data ──┐
particles ──k sweeps──► <v hᵀ>, <v>, <h> of the model ──┴─► centred gradient ──► W, b, c ──► average
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from training.rbm import Rbm, draw
from training.rbm_chains import ChainKind, Exchange, Precision, last_sweep
from training.rbm_gradient import (
    Gradient,
    Statistics,
    centred_gradient,
    limit_norms,
    sparsity_gradient,
    statistics,
)


@dataclass(frozen=True)
class LearningRule:
    """What one update takes, apart from the learning rate.

    Attributes:
        sweeps: Gibbs sweeps k between updates.
        chains: `persistent` (PCD, Tieleman 2008), `data` (CD, Hinton 2002), or persistent ones with
            an exchange: `tempering` (Desjardins et al. 2010), `trajectory` (Béreux et al. 2026).
        offsets: centring offsets follow the `data` means, or the `average` of data and model
            (the enhanced gradient, Cho, Raiko & Ilin 2013); `none` switches centring off.
        offset_rate: share of the newest batch in the offsets' exponential average.
        momentum: of the update.
        weight_decay: L2 penalty on W.
        ema_decay: of the averaged weights, which are the ones that are evaluated and exported.
        chain_precision: `bfloat16` runs the chains' matrix products at half the cost; gradients
            stay in float32.
        sparsity_target: mean activity that the hidden units are drawn to.
        sparsity_cost: how strongly; 0 for not at all.
        max_norm: of the weights into a hidden unit; None for any.
    """

    sweeps: int
    chains: ChainKind = "persistent"
    offsets: Literal["data", "average", "none"] = "data"
    offset_rate: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0
    ema_decay: float = 0.999
    chain_precision: Precision = "float32"
    sparsity_target: float = 0.1
    sparsity_cost: float = 0.0
    max_norm: float | None = None


@dataclass
class LearnerState:
    """Everything that an update reads and writes, so everything that a checkpoint keeps."""

    W: Float[Tensor, "visible hidden"]
    b: Float[Tensor, " visible"]
    c: Float[Tensor, " hidden"]
    ema_W: Float[Tensor, "visible hidden"]  # noqa: N815
    ema_b: Float[Tensor, " visible"]
    ema_c: Float[Tensor, " hidden"]
    velocity_W: Float[Tensor, "visible hidden"]  # noqa: N815
    velocity_b: Float[Tensor, " visible"]
    velocity_c: Float[Tensor, " hidden"]
    visible_offset: Float[Tensor, " visible"]
    hidden_offset: Float[Tensor, " hidden"]
    particles: Float[Tensor, "chains hidden"]

    @classmethod
    def begin(
        cls, rbm: Rbm, *, chains: int, visible_mean: Float[Tensor, " visible"]
    ) -> LearnerState:
        """The state before the first update: particles at all hidden units off."""
        hidden = len(rbm.c)
        return cls(
            W=rbm.W.clone(),
            b=rbm.b.clone(),
            c=rbm.c.clone(),
            ema_W=rbm.W.clone(),
            ema_b=rbm.b.clone(),
            ema_c=rbm.c.clone(),
            velocity_W=torch.zeros_like(rbm.W),
            velocity_b=torch.zeros_like(rbm.b),
            velocity_c=torch.zeros_like(rbm.c),
            visible_offset=visible_mean.clone(),
            hidden_offset=torch.full_like(rbm.c, 0.5),
            particles=torch.zeros(chains, hidden, device=rbm.c.device),
        )

    @property
    def rbm(self) -> Rbm:
        """The machine as it learns; shares memory with the state."""
        return Rbm(W=self.W, b=self.b, c=self.c)

    @property
    def averaged(self) -> Rbm:
        """The machine with averaged weights; shares memory with the state."""
        return Rbm(W=self.ema_W, b=self.ema_b, c=self.ema_c)

    def tensors(self) -> dict[str, Tensor]:
        """Field name → tensor, for a checkpoint."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def grow(self, chains: int) -> None:
        """Have this many particles: the first ones, or copies, which the next sweeps separate."""
        repeats = -(-chains // len(self.particles))
        self.particles = self.particles.repeat(repeats, 1)[:chains].contiguous()


def update(
    state: LearnerState,
    v: Float[Tensor, "batch visible"],
    *,
    rule: LearningRule,
    learning_rate: float,
    generator: torch.Generator,
    labels: int = 0,
    exchange: Exchange | None = None,
) -> None:
    """One step of stochastic maximum likelihood, in place.

    Args:
        state: parameters, averages and particles.
        v: a batch of binary data.
        rule: what an update takes.
        learning_rate: > 0.
        generator: of the chains' noise.
        labels: how many of the last visible units are label units, of which one is on.
        exchange: the helpers of `tempering` and `trajectory`.
    """
    rbm = state.rbm
    p = torch.sigmoid(rbm.hidden_input(v))
    data = statistics(rbm, v, p)
    model = _dream(state, p, rule=rule, generator=generator, labels=labels, exchange=exchange)
    _move_offsets(state, data=data, model=model, rule=rule)
    gradient = centred_gradient(
        data=data,
        model=model,
        visible_offset=state.visible_offset,
        hidden_offset=state.hidden_offset,
    )
    if rule.sparsity_cost:
        gradient += sparsity_gradient(
            rbm,
            v,
            target=rule.sparsity_target,
            cost=rule.sparsity_cost,
            visible_offset=state.visible_offset,
            hidden_offset=state.hidden_offset,
        )
    _ascend(state, gradient, rule=rule, learning_rate=learning_rate)


def _dream(
    state: LearnerState,
    p: Float[Tensor, "batch hidden"],
    *,
    rule: LearningRule,
    generator: torch.Generator,
    labels: int,
    exchange: Exchange | None,
) -> Statistics:
    """The model's statistics, by the chains that the rule asks for; they go on where they persist.

    `p` is p(h = 1 | v) of the data, where the chains of CD begin.
    """
    rbm = state.rbm
    if exchange is not None:
        fantasy, state.particles = exchange.advance(
            rbm,
            state.particles,
            sweeps=rule.sweeps,
            precision=rule.chain_precision,
            generator=generator,
            labels=labels,
        )
        return statistics(rbm, fantasy)
    assert rule.chains in {"persistent", "data"}, f"{rule.chains} needs an exchange"
    persistent = rule.chains == "persistent"
    last = last_sweep(
        rbm,
        state.particles if persistent else draw(p, generator),
        sweeps=rule.sweeps,
        precision=rule.chain_precision,
        generator=generator,
        labels=labels,
    )
    if persistent:
        state.particles = last.h
    # The probabilities of rounded products are good enough to draw from, not for a gradient.
    return statistics(rbm, last.v, last.p if rule.chain_precision == "float32" else None)


def _move_offsets(
    state: LearnerState, *, data: Statistics, model: Statistics, rule: LearningRule
) -> None:
    if rule.offsets == "none":
        state.visible_offset.zero_()
        state.hidden_offset.zero_()
        return
    share = 0.0 if rule.offsets == "data" else 0.5
    state.visible_offset.lerp_(torch.lerp(data.v, model.v, share), rule.offset_rate)
    state.hidden_offset.lerp_(torch.lerp(data.h, model.h, share), rule.offset_rate)


def _ascend(
    state: LearnerState, gradient: Gradient, *, rule: LearningRule, learning_rate: float
) -> None:
    if rule.weight_decay:
        gradient.W.sub_(state.W, alpha=rule.weight_decay)
    for name in ("W", "b", "c"):
        step, rate = getattr(gradient, name), learning_rate
        if rule.momentum:
            velocity = getattr(state, f"velocity_{name}")
            step, rate = velocity.mul_(rule.momentum).add_(step, alpha=learning_rate), 1.0
        getattr(state, name).add_(step, alpha=rate)
    if rule.max_norm is not None:
        limit_norms(state.W, most=rule.max_norm)
    newest = 1 - rule.ema_decay
    state.ema_W.lerp_(state.W, newest)
    state.ema_b.lerp_(state.b, newest)
    state.ema_c.lerp_(state.c, newest)
