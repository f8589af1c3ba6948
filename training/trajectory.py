"""Parallel trajectory tempering: the machine's own past is the ladder that its chains climb.

W = 0 (sampled exactly) ─ rung 1 ─ rung 2 ─ … ─ newest rung ─ the machine that learns
   └──────────── neighbours swap their chains' states (replicas.py) ────────────┘

When the machine has moved so far from the newest rung that their swaps are accepted less than about
three times in ten, a copy of it becomes a rung. Temperature would lead through phase transitions;
the path of learning crosses them one by one, as modes are learned. Béreux, Decelle, Furtlehner &
Seoane, arXiv 2607.27077.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from training.rbm import Rbm, base_rate_bias
from training.rbm_chains import Precision
from training.replicas import Replicas, Stacked

# Sweeps that the running acceptance must have seen of a new rung before it counts.
SWEEPS_BEFORE_FREEZING = 20
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class LadderRule:
    """When the ladder grows.

    Attributes:
        least_acceptance: a running acceptance of swaps under it makes a new rung.
        most_rungs: frozen ones; after that the ladder stays as it is.
    """

    least_acceptance: float = 0.3
    most_rungs: int = 64


@dataclass
class Ladder:
    """Frozen machines with their chains; the stack's last slot is for the machine that learns.

    Attributes:
        machines: parameters of every rung, the learning machine's last.
        replicas: chains of the frozen rungs.
        rule: when the ladder grows.
        frozen_at: how many sweeps had been done when the newest rung was frozen.
    """

    machines: Stacked
    replicas: Replicas
    rule: LadderRule
    frozen_at: int = 0

    @classmethod
    def begin(
        cls,
        *,
        visible_mean: Float[Tensor, " visible"],
        particles: Float[Tensor, "chains hidden"],
        rule: LadderRule,
    ) -> Ladder:
        """One frozen rung: the base-rate model, W = 0 and c = 0, whose log Z is known."""
        hidden = particles.shape[1]
        base = Rbm(
            W=visible_mean.new_zeros(len(visible_mean), hidden),
            b=base_rate_bias(visible_mean),
            c=visible_mean.new_zeros(hidden),
        )
        replicas = Replicas.begin(helpers=1, particles=particles)
        return cls(machines=Stacked.of((base, base)), replicas=replicas, rule=rule)

    @property
    def frozen(self) -> int:
        """How many rungs are frozen."""
        return len(self.machines) - 1

    @property
    def base(self) -> Rbm:
        """Rung 0: W = 0."""
        m = self.machines
        return Rbm(W=m.W[0].float(), b=m.b[0], c=m.c[0])

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
        """Sweep all rungs and swap, `sweeps` times: the learning machine's last (v, h)."""
        rungs = self.rungs(rbm, precision)
        v, h = self.replicas.run(
            rungs, particles, sweeps=sweeps, generator=generator, labels=labels
        )
        if self._is_far():
            self._freeze(rbm, h)
        return v, h

    def rungs(self, rbm: Rbm, precision: Precision = "float32") -> Stacked:
        """All rungs, `rbm` as the last; shares memory with the ladder."""
        dtype = DTYPES[precision]
        if self.machines.W.dtype != dtype:
            self.machines = replace(self.machines, W=self.machines.W.to(dtype))
        m = self.machines
        for stacked, now in zip((m.W, m.b, m.c), (rbm.W, rbm.b, rbm.c), strict=True):
            stacked[-1].copy_(now)
        return m

    def _is_far(self) -> bool:
        return (
            self.replicas.sweeps - self.frozen_at >= SWEEPS_BEFORE_FREEZING
            and self.frozen < self.rule.most_rungs
            and float(self.replicas.acceptance[-1]) < self.rule.least_acceptance
        )

    def _freeze(self, rbm: Rbm, h: Float[Tensor, "chains hidden"]) -> None:
        m = self.machines
        self.machines = Stacked(
            W=torch.cat([m.W, rbm.W.to(m.W.dtype)[None]]),
            b=torch.cat([m.b, rbm.b[None]]),
            c=torch.cat([m.c, rbm.c[None]]),
        )
        self.replicas.append(h)
        self.frozen_at = self.replicas.sweeps

    def tensors(self) -> dict[str, Tensor]:
        """Name → tensor, for a checkpoint."""
        return {
            "W": self.machines.W,
            "b": self.machines.b,
            "c": self.machines.c,
            "h": self.replicas.h,
            "acceptance": self.replicas.acceptance,
            "sweeps": torch.tensor(self.replicas.sweeps),
            "frozen_at": torch.tensor(self.frozen_at),
        }

    @classmethod
    def restored(
        cls, named: Mapping[str, Tensor], device: torch.device, *, rule: LadderRule
    ) -> Ladder:
        """The ladder that `tensors` gave, on `device`."""
        kept = {name: tensor.to(device) for name, tensor in named.items()}
        replicas = Replicas(h=kept["h"], acceptance=kept["acceptance"], sweeps=int(named["sweeps"]))
        return cls(
            machines=Stacked(W=kept["W"], b=kept["b"], c=kept["c"]),
            replicas=replicas,
            rule=rule,
            frozen_at=int(named["frozen_at"]),
        )
