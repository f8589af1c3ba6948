"""The same chains without us: numpy and torch in float32, and the arithmetic that they need.

Machine ──► run(n, sweeps)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np
import torch

from benchmarks.chaining.machines import Machine

Run = Callable[[int, int], object]  # rows, sweeps


def in_numpy(machine: Machine) -> Run:
    """Uniforms of its own generator, compared with σ."""
    first, then = machine.halves
    draw = np.random.default_rng(1)

    def run(n: int, sweeps: int) -> None:
        h = {layer: np.zeros((n, machine.sizes[layer]), np.float32) for layer in (*first, *then)}
        for _ in range(sweeps):
            for layer in (*first, *then):
                x = machine.b[layer] + sum(h[k] @ W for k, W in machine.neighbours(layer))
                chance = draw.random(x.shape, np.float32)
                h[layer] = (chance < 1 / (1 + np.exp(-x))).astype(np.float32)

    return run


def in_torch(machine: Machine, *, compiled: bool = False) -> Run:
    """`torch.bernoulli` of σ, as it is or compiled; compiled anew for each number of rows."""
    sweep = _torch_sweep(machine)

    @cache
    def for_rows(_n: int) -> Callable[[list[torch.Tensor]], list[torch.Tensor]]:
        return torch.compile(sweep, dynamic=False) if compiled else sweep

    def run(n: int, sweeps: int) -> None:
        h = [torch.zeros(n, units) for units in machine.sizes]
        step = for_rows(n)
        with torch.inference_mode():
            for _ in range(sweeps):
                h = step(h)

    return run


def _torch_sweep(machine: Machine) -> Callable[[list[torch.Tensor]], list[torch.Tensor]]:
    first, then = machine.halves
    b = [torch.from_numpy(bias) for bias in machine.b]
    near = [
        [(k, torch.from_numpy(W)) for k, W in machine.neighbours(layer)]
        for layer in range(len(machine.b))
    ]

    def sweep(h: list[torch.Tensor]) -> list[torch.Tensor]:
        h = list(h)
        for layer in (*first, *then):
            x = b[layer]
            for k, W in near[layer]:
                x = torch.addmm(x, h[k], W) if x.dim() == 1 else x + h[k] @ W
            h[layer] = torch.bernoulli(torch.sigmoid(x))
        return h

    return sweep


def compiles(machine: Machine) -> str | None:
    """Why `torch.compile` does not work here, or None."""
    try:
        in_torch(machine, compiled=True)(1, 1)
    except Exception as error:  # noqa: BLE001  whatever is missing: a compiler, a header, a backend
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120]}"
    return None


def arithmetic(machine: Machine) -> Run:
    """The float32 products of a sweep and nothing else: the roofline of a float sweep."""
    pairs = [
        (k, np.ascontiguousarray(W))
        for layer in range(len(machine.b))
        for k, W in machine.neighbours(layer)
    ]

    def run(n: int, sweeps: int) -> None:
        h = [np.ones((n, units), np.float32) for units in machine.sizes]
        products = [partial(np.matmul, h[k], W, np.empty((n, W.shape[1]), "f4")) for k, W in pairs]
        for _ in range(sweeps):
            for product in products:
                product()

    return run
