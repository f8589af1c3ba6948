"""One step of Adam on tensors that are kept by name, as checkpoints have them.

now.W, m.W, s.W, gradient ──► now.W, m.W, s.W                               Kingma & Ba (2015)
"""

from __future__ import annotations

from torch import Tensor

# Decay rates of the moments, and the guard against division by nothing.
ADAM = (0.9, 0.999, 1e-8)


def adam_step(
    named: dict[str, Tensor], name: str, gradient: Tensor, *, rate: float, t: int
) -> None:
    """Step `t` = 1, 2, … down `gradient`, in place: `now.<name>` and its moments `m.`, `s.`."""
    slow, slower, guard = ADAM
    m, s = named[f"m.{name}"], named[f"s.{name}"]
    m.lerp_(gradient, 1 - slow)
    s.lerp_(gradient.square(), 1 - slower)
    step = (m / (1 - slow**t)) / ((s / (1 - slower**t)).sqrt() + guard)
    named[f"now.{name}"].sub_(step, alpha=rate)
