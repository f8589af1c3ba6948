"""What adversarial training changes: two players, the generator's average, and their optimisers.

Players.fresh(seed) ──► steps ──► state() ──checkpoint──► restore() ──► steps, bit for bit
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from training.augment import Augmentation
from training.gan_options import GanTraining
from training.networks import Discriminator, Generator, fast, seeded
from training.shapes import PlayerShape, Shape


class UnfitPlayers(ValueError):
    """Networks, remedies or a start that do not go together; says what to do."""


@dataclass
class Players:
    """Everything that training changes; `state` and `restore` are inverse."""

    generator: Generator
    discriminator: Discriminator
    average: Generator
    optimizers: dict[str, torch.optim.Adam]
    noise: torch.Generator
    augmentation: Augmentation
    best: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def fresh(
        cls, shape: PlayerShape, config: GanTraining, *, seed: int, device: torch.device
    ) -> Players:
        """First weights and empty moments, all from `seed`.

        Raises:
            UnfitPlayers: the remedies and the networks do not go together.
        """
        check_fits(shape, config)
        betas, critic = (config.beta1, config.beta2), config.critic()
        generator = seeded(lambda: fast(Generator(shape)), seed=seed).to(device)
        discriminator = seeded(lambda: fast(Discriminator(shape, critic)), seed=seed + 1).to(device)
        return cls(
            generator=generator,
            discriminator=discriminator,
            average=copy.deepcopy(generator).requires_grad_(False).eval(),
            optimizers={
                "generator": torch.optim.Adam(generator.parameters(), betas=betas),
                "discriminator": torch.optim.Adam(discriminator.parameters(), betas=betas),
            },
            noise=torch.Generator().manual_seed(seed + 2),
            augmentation=config.augmentation(),
        )

    def begin_from(self, run: str, state: dict[str, Any]) -> None:
        """Take up the weights of a finished run's players, whose best average is G from here on.

        Optimisers, noise and the choice of the best begin anew.

        Raises:
            UnfitPlayers: those players are of another shape.
        """
        kept = state["best"].get("average", state["average"])
        parts = (
            (self.generator, kept),
            (self.average, kept),
            (self.discriminator, state["discriminator"]),
        )
        try:
            for player, weights in parts:
                player.load_state_dict(weights)
        except RuntimeError as error:
            raise UnfitPlayers(
                f"start={run!r} has players of another shape: give [model] the sizes of its recipe"
            ) from error
        self.origin = {"run": run, "step": int(state["step"]), "seconds": float(state["seconds"])}

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": {k: o.state_dict() for k, o in self.optimizers.items()},
            "noise": self.noise.get_state(),
            "augmentation": self.augmentation.state(),
            "best": self.best,
            "origin": self.origin,
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
        self.augmentation.restore(state.get("augmentation", self.augmentation.state()))
        self.best, self.seconds = state["best"], state["seconds"]
        self.origin = state.get("origin", {})


def check_fits(shape: PlayerShape, config: GanTraining) -> None:
    """Whether the remedies can be had with these networks.

    Raises:
        UnfitPlayers: says which do not go together, and what to do.
    """
    if config.packing > 1 and shape.classes and not shape.unlabelled:
        raise UnfitPlayers(
            f"train.packing={config.packing} judges images of several classes as one: set "
            "model.classes to 0, or packing to 1"
        )
    if shape.discriminator_norm == "batch" and (config.penalises or config.wgan_gp):
        raise UnfitPlayers(
            "model.discriminator_norm='batch' mixes the rows whose gradients are penalised: set "
            "train.gamma_real, gamma_fake and wgan_gp to 0, or the norm to 'layer'"
        )
    only_images = {"translate", "cutout", "flip"} & set(config.transforms)
    if config.augment != "none" and not isinstance(shape, Shape) and only_images:
        raise UnfitPlayers(
            f"train.transforms holds {sorted(only_images)}, which are for images: leave 'noise'"
        )


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, *, decay: float) -> None:
    """θ̄ ← decay·θ̄ + (1 − decay)·θ, for weights and for batch norm's statistics."""
    for kept, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if kept.dtype.is_floating_point:
            kept.lerp_(new, 1.0 - decay)
        else:
            kept.copy_(new)
