"""What adversarial training changes: two players, the generator's average, and their optimisers.

Players.fresh(seed) ──► steps ──► state() ──checkpoint──► restore() ──► steps, bit for bit
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from training.networks import Discriminator, Generator, Shape, fast, seeded


@dataclass
class Players:
    """Everything that training changes; `state` and `restore` are inverse."""

    generator: Generator
    discriminator: Discriminator
    average: Generator
    optimizers: dict[str, torch.optim.Adam]
    noise: torch.Generator
    best: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def fresh(
        cls, shape: Shape, *, betas: tuple[float, float], seed: int, device: torch.device
    ) -> Players:
        """First weights and empty moments, all from `seed`."""
        generator = seeded(lambda: fast(Generator(shape)), seed=seed).to(device)
        discriminator = seeded(lambda: fast(Discriminator(shape)), seed=seed + 1).to(device)
        return cls(
            generator=generator,
            discriminator=discriminator,
            average=copy.deepcopy(generator).requires_grad_(False).eval(),
            optimizers={
                "generator": torch.optim.Adam(generator.parameters(), betas=betas),
                "discriminator": torch.optim.Adam(discriminator.parameters(), betas=betas),
            },
            noise=torch.Generator().manual_seed(seed + 2),
        )

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": {k: o.state_dict() for k, o in self.optimizers.items()},
            "noise": self.noise.get_state(),
            "best": self.best,
            "seconds": self.seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to what `state` described."""
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.average.load_state_dict(state["average"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.noise.set_state(state["noise"])
        self.best, self.seconds = state["best"], state["seconds"]


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, *, decay: float) -> None:
    """θ̄ ← decay·θ̄ + (1 − decay)·θ, for weights and for batch norm's statistics."""
    for kept, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if kept.dtype.is_floating_point:
            kept.lerp_(new, 1.0 - decay)
        else:
            kept.copy_(new)
