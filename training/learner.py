"""A network in training by one optimizer, and its way into a checkpoint and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


@dataclass
class Learner(Generic[Network]):
    """Everything that the training changes; `state` and `restore` are inverse.

    Attributes:
        name: what checkpoints call the network.
    """

    name: str
    network: Network
    optimizer: torch.optim.Optimizer
    noise: torch.Generator
    seconds: float = 0.0

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            self.name: self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "noise": self.noise.get_state(),
            "seconds": self.seconds,
        }

    def restore(self, state: dict[str, Any] | None) -> int:
        """Take up a checkpoint, if there is one; returns the steps done."""
        if state is None:
            return 0
        self.network.load_state_dict(state[self.name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.noise.set_state(state["noise"])
        self.seconds = state["seconds"]
        return int(state["step"])
