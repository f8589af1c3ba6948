"""Parallel tempering of persistent chains: one machine at many inverse temperatures.

β: 0 (base rates) ─ … ─ 1 (the machine that learns), neighbours swap their chains' states

The rungs follow the path of AIS: βW, βc and (1 - β)b₀ + βb, so that β = 0 is the base-rate model,
which knows where the ink is, and not the uniform one. Desjardins et al. (2010); Cho, Raiko & Ilin
(2010), "Parallel tempering is efficient for learning restricted Boltzmann machines".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from training.rbm import Rbm
from training.rbm_chains import Precision
from training.replicas import Replicas


@dataclass(frozen=True)
class Tempered:
    """The rungs of one machine.

    Attributes:
        rbm: the machine; its W may be bfloat16.
        base_bias: b₀, the log-odds of the data's base rates.
        betas: rising from 0 to 1.
    """

    rbm: Rbm
    base_bias: Float[Tensor, " visible"]
    betas: Float[Tensor, " rungs"]

    @property
    def visible_bias(self) -> Float[Tensor, "rungs visible"]:
        """As `Rungs` has it."""
        return torch.lerp(self.base_bias, self.rbm.b, self.betas[:, None])

    def visible_input(
        self, h: Float[Tensor, "rungs chains hidden"]
    ) -> Float[Tensor, "rungs chains visible"]:
        """As `Rungs` has it."""
        given = (h.to(self.rbm.W.dtype) @ self.rbm.W.T).to(h.dtype) + self.rbm.b
        return torch.lerp(self.base_bias, given, self.betas[:, None, None])

    def hidden_input(
        self, v: Float[Tensor, "rungs chains visible"]
    ) -> Float[Tensor, "rungs chains hidden"]:
        """As `Rungs` has it."""
        given = (v.to(self.rbm.W.dtype) @ self.rbm.W).to(v.dtype) + self.rbm.c
        return self.betas[:, None, None] * given


@dataclass
class TemperedChains:
    """The chains at β < 1, beside a learner's particles at β = 1.

    Attributes:
        base_bias: b₀.
        betas: rising from 0 to 1.
        replicas: their states.
    """

    base_bias: Float[Tensor, " visible"]
    betas: Float[Tensor, " rungs"]
    replicas: Replicas

    @classmethod
    def begin(
        cls,
        *,
        rungs: int,
        base_bias: Float[Tensor, " visible"],
        particles: Float[Tensor, "chains hidden"],
    ) -> TemperedChains:
        """`rungs` evenly spaced inverse temperatures, both ends included."""
        assert rungs >= 2, "tempering needs a rung beside the machine"
        return cls(
            base_bias=base_bias,
            betas=torch.linspace(0, 1, rungs, device=base_bias.device),
            replicas=Replicas.begin(helpers=rungs - 1, particles=particles),
        )

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
        """Sweep all temperatures and swap, `sweeps` times: the last (v, h) at β = 1."""
        W = rbm.W.bfloat16() if precision == "bfloat16" else rbm.W
        rungs = Tempered(replace(rbm, W=W), self.base_bias, self.betas)
        return self.replicas.run(
            rungs, particles, sweeps=sweeps, generator=generator, labels=labels
        )

    def tensors(self) -> dict[str, Tensor]:
        """Name → tensor, for a checkpoint."""
        return {
            "base_bias": self.base_bias,
            "betas": self.betas,
            "h": self.replicas.h,
            "acceptance": self.replicas.acceptance,
            "sweeps": torch.tensor(self.replicas.sweeps),
        }

    @classmethod
    def restored(cls, named: Mapping[str, Tensor], device: torch.device) -> TemperedChains:
        """The chains that `tensors` gave, on `device`."""
        kept = {name: tensor.to(device) for name, tensor in named.items()}
        return cls(
            base_bias=kept["base_bias"],
            betas=kept["betas"],
            replicas=Replicas(
                h=kept["h"], acceptance=kept["acceptance"], sweeps=int(named["sweeps"])
            ),
        )
