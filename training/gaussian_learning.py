"""How a machine with Gaussian visible units learns: stochastic maximum likelihood, centred above.

data ──────────────────► <v hᵀ>, <v>, <h>, <∂E/∂z> of the data ──┐
particles ──k sweeps──► the same of the model ───────────────────┴─► W, b, c, z ──► average
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from training.gaussian import GaussianRbm
from training.rbm import draw
from training.rbm_learning import LearningRule

# σ² is kept in here, in units of the data's own variance: a unit whose noise runs to 0 explodes.
LEAST_LOG_VARIANCE, MOST_LOG_VARIANCE = -7.0, 2.0


@dataclass(frozen=True)
class Moments:
    """Means over a batch, of which the gradient is a difference.

    Attributes:
        vh, v, h: <v hᵀ>, <v>, <h>, with h the probabilities p(h = 1 | v).
        slope: <½(v - b)² - v·(Wh)>, each visible unit's.
    """

    vh: Float[Tensor, "visible hidden"]
    v: Float[Tensor, " visible"]
    h: Float[Tensor, " hidden"]
    slope: Float[Tensor, " visible"]


def moments(machine: GaussianRbm, v: Float[Tensor, "batch visible"]) -> Moments:
    """The moments of a batch of visible states, Rao-Blackwellised over h."""
    h = torch.sigmoid(machine.hidden_input(v))
    slope = 0.5 * (v - machine.b).square() - v * (h @ machine.W.T)
    return Moments(vh=v.T @ h / len(v), v=v.mean(0), h=h.mean(0), slope=slope.mean(0))


def gradient(
    machine: GaussianRbm,
    *,
    data: Moments,
    model: Moments,
    hidden_offset: Float[Tensor, " hidden"],
) -> GaussianRbm:
    """The centred gradient of the mean log-likelihood, in the machine's shape: ascend it.

    ∇W_ij = <v_i (h_j - λ_j)>/σ_i²,  ∇b_i = <v_i>/σ_i² - (∇W λ)_i,  ∇c = <h>,
    ∇z_i = <½(v_i - b_i)² - v_i (Wh)_i>/σ_i², each of the data less the model's. With λ = 0 it is
    the plain one: Cho, Ilin & Raiko (2011), eq. 5-8. Visible units are standardised, and so centred
    as they are.
    """
    precision = 1 / machine.variance
    dv, dh = data.v - model.v, data.h - model.h
    W = precision[:, None] * (data.vh - model.vh - torch.outer(dv, hidden_offset))
    return GaussianRbm(
        W=W,
        b=precision * dv - W @ hidden_offset,
        c=dh,
        z=precision * (data.slope - model.slope),
    )


@dataclass
class GaussianLearner:
    """Everything that an update reads and writes, so everything that a checkpoint keeps.

    Attributes:
        machine: as it learns; updates are in place.
        averaged: its exponential average, which is evaluated.
        velocity: of momentum.
        hidden_offset: λ.
        particles: hidden states of the persistent chains.
    """

    machine: GaussianRbm
    averaged: GaussianRbm
    velocity: GaussianRbm
    hidden_offset: Float[Tensor, " hidden"]
    particles: Float[Tensor, "chains hidden"]

    @classmethod
    def begin(cls, machine: GaussianRbm, *, chains: int) -> GaussianLearner:
        """The state before the first update: particles at all hidden units off."""

        def copied(scale: float) -> GaussianRbm:
            return GaussianRbm(**{name: scale * t for name, t in _parts(machine).items()})

        return cls(
            machine=copied(1.0),
            averaged=copied(1.0),
            velocity=copied(0.0),
            hidden_offset=torch.sigmoid(machine.c),
            particles=machine.c.new_zeros(chains, len(machine.c)),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Name → tensor, for a checkpoint."""
        named = {"hidden_offset": self.hidden_offset, "particles": self.particles}
        for part in ("machine", "averaged", "velocity"):
            named |= {f"{part}.{n}": t for n, t in _parts(getattr(self, part)).items()}
        return named

    @classmethod
    def restored(cls, named: Mapping[str, Tensor]) -> GaussianLearner:
        """The learner that `tensors` gave."""
        machines = {
            part: GaussianRbm(**{n: named[f"{part}.{n}"] for n in ("W", "b", "c", "z")})
            for part in ("machine", "averaged", "velocity")
        }
        return cls(hidden_offset=named["hidden_offset"], particles=named["particles"], **machines)

    def grow(self, chains: int) -> None:
        """Have this many particles: the first ones, or copies, which the next sweeps separate."""
        repeats = -(-chains // len(self.particles))
        self.particles = self.particles.repeat(repeats, 1)[:chains].contiguous()


def update(
    learner: GaussianLearner,
    v: Float[Tensor, "batch visible"],
    *,
    rule: LearningRule,
    learning_rate: float,
    variance_rate: float,
    generator: torch.Generator,
) -> None:
    """One step of stochastic maximum likelihood, in place.

    W and b follow σ² times their gradient, so that a unit with little noise takes no larger steps
    than the others.

    Args:
        learner: parameters, averages and particles.
        v: a batch of standardised data.
        rule: what an update takes.
        learning_rate: > 0.
        variance_rate: share of it for z; 0 keeps σ² where it is.
        generator: of the chains' noise.
    """
    machine = learner.machine
    persistent = rule.chains == "persistent"
    start = learner.particles
    if not persistent:
        start = draw(torch.sigmoid(machine.hidden_input(v)), generator)
    fantasy, particles = run_chains(machine, start, sweeps=rule.sweeps, generator=generator)
    if persistent:
        learner.particles = particles
    data, model = moments(machine, v), moments(machine, fantasy)
    share = {"none": 0.0, "data": 0.0, "average": 0.5}[rule.offsets]
    if rule.offsets == "none":
        learner.hidden_offset.zero_()
    else:
        learner.hidden_offset.lerp_(torch.lerp(data.h, model.h, share), rule.offset_rate)
    step = gradient(machine, data=data, model=model, hidden_offset=learner.hidden_offset)
    _ascend(learner, step, rule=rule, learning_rate=learning_rate, variance_rate=variance_rate)


def run_chains(
    machine: GaussianRbm,
    h: Float[Tensor, "chains hidden"],
    *,
    sweeps: int,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "chains visible"], Float[Tensor, "chains hidden"]]:
    """`sweeps` Gibbs sweeps from `h`: the last (v, h)."""
    v = h.new_empty(0)
    for _ in range(sweeps):
        v, h = machine.sweep(h, generator)
    return v, h


def _ascend(
    learner: GaussianLearner,
    step: GaussianRbm,
    *,
    rule: LearningRule,
    learning_rate: float,
    variance_rate: float,
) -> None:
    machine, velocity = learner.machine, learner.velocity
    variance = machine.variance
    steps = {
        "W": variance[:, None] * step.W - rule.weight_decay * machine.W,
        "b": variance * step.b,
        "c": step.c,
        "z": variance_rate * step.z,
    }
    for name, ascent in steps.items():
        moving = getattr(velocity, name).mul_(rule.momentum).add_(ascent, alpha=learning_rate)
        getattr(machine, name).add_(moving)
    machine.z.clamp_(LEAST_LOG_VARIANCE, MOST_LOG_VARIANCE)
    for name, now in _parts(machine).items():
        getattr(learner.averaged, name).lerp_(now, 1 - rule.ema_decay)


def _parts(machine: GaussianRbm) -> dict[str, Tensor]:
    return {field.name: getattr(machine, field.name) for field in fields(machine)}
