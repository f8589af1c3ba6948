"""What adversarial training on rows changes: two players, the average, and their optimisers.

RowPlayers.fresh(seed) ──► steps ──► state() ──checkpoint──► restore() ──► steps, bit for bit
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch

from training.networks import seeded
from training.tabular.networks import RowCritic, RowGenerator, RowShape


@dataclass
class RowPlayers:
    """Everything that training changes; `state` and `restore` are inverse."""

    generator: RowGenerator
    critic: RowCritic
    average: RowGenerator
    optimizers: dict[str, torch.optim.Adam]
    noise: torch.Generator
    best: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def fresh(
        cls, shape: RowShape, *, betas: tuple[float, float], seed: int, device: torch.device
    ) -> RowPlayers:
        """First weights and empty moments, all from `seed`."""
        generator = seeded(lambda: RowGenerator(shape), seed=seed).to(device)
        critic = seeded(lambda: RowCritic(shape), seed=seed + 1).to(device)
        return cls(
            generator=generator,
            critic=critic,
            average=copy.deepcopy(generator).requires_grad_(False).eval(),
            optimizers={
                "generator": torch.optim.Adam(generator.parameters(), betas=betas),
                "critic": torch.optim.Adam(critic.parameters(), betas=betas),
            },
            noise=torch.Generator().manual_seed(seed + 2),
        )

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "generator": self.generator.state_dict(),
            "critic": self.critic.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": {k: o.state_dict() for k, o in self.optimizers.items()},
            "noise": self.noise.get_state(),
            "best": self.best,
            "seconds": self.seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to what `state` described."""
        self.generator.load_state_dict(state["generator"])
        self.critic.load_state_dict(state["critic"])
        self.average.load_state_dict(state["average"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.noise.set_state(state["noise"])
        self.best, self.seconds = state["best"], state["seconds"]
