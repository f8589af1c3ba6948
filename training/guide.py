"""A guide: what a chain that holds a label adds to the inputs of the top machine's units.

[h, y] ──log p(y | h), exact──► up [labels, hidden], down [labels, units] ──Adam──► Guide

A top machine that has learned p(h, y) well gives p(y | h) as unsure as it is, and its samples of a
label are then as often of another one. Guided chains sample p(h) times a sharper p(y | h), learned
by itself with all of the machine fixed: Larochelle & Bengio (2008), §3; the idea of guidance is
that of Dhariwal & Nichol (2021), §4. The machine, its likelihood and its scores stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot, softplus

from training.adam import adam_step
from training.config import Table
from training.dbn import Dbn
from training.rbm import Rbm, draw
from training.run import Run, newest_checkpoint
from training.stages import Stages

STAGE = "guide"
FIGURES_EVERY = 50
PARTS = ("up", "down", "bias")


class GuideTable(Table):
    """`[guide]`: how the guide learns."""

    updates: int = Field(2000, ge=1, le=10_000_000, description="Steps of Adam.")
    batch: int = Field(100, ge=1, le=65536, description="Images an update.")
    learning_rate: float = Field(0.01, gt=0, le=10, description="At the start; falls to 0.")
    strength: float = Field(
        1.0,
        gt=0,
        le=10,
        description="What the exported guide is multiplied by: over 1, samples keep closer to what "
        "tells their label from the others.",
    )
    checkpoint_minutes: float = Field(3.0, ge=0, le=1440, description="Between checkpoints.")


@dataclass(frozen=True)
class Guide:
    """log p(y | h) = log softmax_y( bias_y + down_y·h + Σ_j softplus(c_j + (hW)_j + up_yj) ).

    Attributes:
        up: what label y adds to the inputs of h^L.
        down: what it adds to the inputs of h^{L-1}.
        bias: of the labels; a chain that holds its label has no use for it.
    """

    up: Float[Tensor, "labels hidden"]
    down: Float[Tensor, "labels units"]
    bias: Float[Tensor, " labels"]

    @classmethod
    def of(cls, top: Rbm, *, labels: int) -> Guide:
        """What the label units themselves say."""
        units = len(top.b) - labels
        return cls(
            up=top.W[units:].clone(),
            down=top.W.new_zeros(labels, units),
            bias=top.b[units:].clone(),
        )

    def times(self, strength: float) -> Guide:
        """The guide with all that it says multiplied."""
        return Guide(up=strength * self.up, down=strength * self.down, bias=strength * self.bias)

    def log_probabilities(
        self, top: Rbm, h: Float[Tensor, "batch units"]
    ) -> Float[Tensor, "batch labels"]:
        """log p(y | h) of every label; `top` may have label units, which are not looked at."""
        each = softplus(self._inputs(top, h)).sum(2)
        return torch.log_softmax(each + h @ self.down.T + self.bias, 1)

    def gradient(
        self, top: Rbm, h: Float[Tensor, "batch units"], y: Int64[Tensor, " batch"]
    ) -> tuple[Guide, Float[Tensor, ""]]:
        """The gradient of the mean of log p(y | h), exact, and that mean in nats.

        With e_y = 1[y] - p(y | h): ∇up_yj = <e_y σ(input_yj)>, ∇down_y = <e_y h>, ∇bias_y = <e_y>.
        """
        x = self._inputs(top, h)
        log_p = torch.log_softmax(softplus(x).sum(2) + h @ self.down.T + self.bias, 1)
        surprise = one_hot(y, len(self.bias)).to(h.dtype) - log_p.exp()
        n = len(h)
        return Guide(
            up=(torch.sigmoid(x) * surprise[:, :, None]).sum(0) / n,
            down=surprise.T @ h / n,
            bias=surprise.mean(0),
        ), log_p.gather(1, y[:, None]).mean()

    def _inputs(self, top: Rbm, h: Tensor) -> Float[Tensor, "batch labels hidden"]:
        return torch.addmm(top.c, h, top.W[: h.shape[1]])[:, None] + self.up


def train_guide(
    dbn: Dbn,
    images: Float[Tensor, "n visible"],
    labels: Int64[Tensor, " n"],
    *,
    table: GuideTable,
    seed: int,
    run: Run,
    stop: Callable[[], bool],
) -> Guide:
    """Learn on binary draws of the images and of h, or go on from the run's newest checkpoint.

    Raises:
        Interrupted: `stop` said so; a checkpoint is written.
        TrainingDiverged: a weight is no longer finite.
    """
    generator = torch.Generator(images.device).manual_seed(seed)
    stages = Stages(run, generator, minutes=table.checkpoint_minutes, stop=stop)
    done, kept = stages.begin(STAGE)
    named = _begin(Guide.of(dbn.top, labels=dbn.labels)) if kept is None else kept
    with run.progress("guide", total=table.updates, done=done) as bar:
        for step in range(done + 1, table.updates + 1):
            rows = torch.randint(len(images), (table.batch,), generator=generator,
                                 device=images.device)  # fmt: skip
            h = dbn.rise(draw(images[rows], generator), generator)[-1]
            gradient, mean = _guide(named).gradient(dbn.top, h, labels[rows])
            rate = table.learning_rate * (1 - (step - 1) / table.updates)
            for part in PARTS:
                adam_step(named, part, -getattr(gradient, part), rate=rate, t=step)
            shown = {} if step % FIGURES_EVERY else {"loss": -float(mean)}
            bar.advance(images=table.batch, **shown)
            stages.after_update(lambda: named, last=step == table.updates)
    return _guide(named)


def restored_guide(run: Path) -> Guide | None:
    """The guide of a run's newest checkpoint, or None if there is none."""
    checkpoint = newest_checkpoint(run)
    return None if checkpoint is None else _guide(checkpoint["tensors"])


def guide_error(
    guide: Guide, dbn: Dbn, v: Float[Tensor, "n visible"], y: Int64[Tensor, " n"], *, seed: int
) -> float:
    """Share of binary images whose most probable label is wrong, given one draw of h."""
    generator = torch.Generator(v.device).manual_seed(seed)
    wrong = 0
    for rows, held in zip(torch.split(v, 1000), torch.split(y, 1000), strict=True):
        p = guide.log_probabilities(dbn.top, dbn.rise(rows, generator)[-1])
        wrong += int((p.argmax(1) != held).sum())
    return wrong / len(v)


def _begin(guide: Guide) -> dict[str, Tensor]:
    named: dict[str, Tensor] = {}
    for part in PARTS:
        tensor = getattr(guide, part)
        named |= {f"now.{part}": tensor.clone()}
        named |= {f"{kind}.{part}": torch.zeros_like(tensor) for kind in ("m", "s")}
    return named


def _guide(named: Mapping[str, Tensor]) -> Guide:
    return Guide(*(named[f"now.{part}"] for part in PARTS))
