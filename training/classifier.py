"""Supervised fine-tuning: a generative model unrolled into a network, with a softmax on top.

x, side inputs ──σ──► h¹ ──σ──► … ──softmax──► p(label | x)        dropout, Adam, averaged weights

The layers begin as the generative model has them: Hinton & Salakhutdinov (2006). A deep Boltzmann
machine adds to each layer's input what its mean-field says of the layer above: Salakhutdinov &
Hinton (2009), §3.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from training.adam import adam_step
from training.config import Table
from training.distortion import distort
from training.run import Run, newest_checkpoint
from training.stages import Stages

STAGE = "classifier"
FIGURES_EVERY = 50
CAME_LATER = ("affine", "elastic_pixels")

Inputs = Sequence[Float[Tensor, "batch units"]]
Views = Callable[[Float[Tensor, "batch units"], torch.Generator], Inputs]


class ClassifyTable(Table):
    """`[classify]`: how the classifier is fine-tuned."""

    epochs: int = Field(30, ge=1, le=100_000)
    batch: int = Field(100, ge=1, le=65536, description="Images an update.")
    learning_rate: float = Field(1e-3, gt=0, le=10, description="Of Adam, at the start.")
    final_learning_rate: float = Field(0.0, ge=0, le=10, description="At the end; falls linearly.")
    input_dropout: float = Field(0.2, ge=0, lt=1, description="Share of inputs that are left out.")
    dropout: float = Field(0.5, ge=0, lt=1, description="Share of hidden units left out.")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="Of the averaged, exported weights.")
    checkpoint_minutes: float = Field(3.0, ge=0, le=1440, description="Between checkpoints.")
    affine: float = Field(
        0.0, ge=0, le=2, description="Small affine changes of images; 1: ±12°, ±12 %, ±2 of 28 px."
    )
    elastic_pixels: float = Field(
        0.0, ge=0, le=8, description="Standard deviation of smooth displacements of images."
    )

    @property
    def distorts(self) -> bool:
        """Whether images are changed before they are learned."""
        return self.affine > 0 or self.elastic_pixels > 0

    def deciding(self) -> dict[str, object]:
        """What decides the weights; keys that came later are not named at their defaults."""
        return self.model_dump(mode="json", exclude=set() if self.distorts else set(CAME_LATER))


@dataclass(frozen=True)
class Classifier:
    """p(label | x) = softmax(h W + b), with h^l = σ([h^{l-1}, side^l] W^l + b^l) below.

    Attributes:
        W, b: of each layer, the softmax last; W[l] is [inputs of the layer, units].
    """

    W: tuple[Float[Tensor, "lower upper"], ...]
    b: tuple[Float[Tensor, " upper"], ...]

    def logits(
        self, inputs: Inputs, drop: Callable[[Tensor, int], Tensor] | None = None
    ) -> Float[Tensor, "batch labels"]:
        """Log-odds of the labels; `inputs` are x and a side input for each layer that has one.

        `drop` thins out the input of layer 0, 1, … .
        """
        h = inputs[0]
        for i, (W, b) in enumerate(zip(self.W, self.b, strict=True)):
            x = torch.cat([h, inputs[i + 1]], 1) if i + 1 < len(inputs) else h
            x = x if drop is None else drop(x, i)
            h = x @ W + b
            if i + 1 < len(self.W):
                h = torch.sigmoid(h)
        return h

    def tensors(self) -> dict[str, Tensor]:
        """`W.0`, `b.0`, … for a checkpoint."""
        weights = {f"W.{i}": W for i, W in enumerate(self.W)}
        return weights | {f"b.{i}": b for i, b in enumerate(self.b)}

    @classmethod
    def of(cls, named: Mapping[str, Tensor]) -> Classifier:
        """The classifier of `tensors`."""
        depth = sum(name.startswith("W.") for name in named)
        return cls(
            W=tuple(named[f"W.{i}"] for i in range(depth)),
            b=tuple(named[f"b.{i}"] for i in range(depth)),
        )


@dataclass(frozen=True)
class LabelledData:
    """What a classifier sees of each image: its inputs, and its label."""

    inputs: Inputs
    labels: Int64[Tensor, " n"]

    def take(self, rows: Tensor) -> LabelledData:
        """Some of the images."""
        return LabelledData([x[rows] for x in self.inputs], self.labels[rows])

    def __len__(self) -> int:
        return len(self.labels)


def with_softmax(
    layers: Sequence[tuple[Float[Tensor, "lower upper"], Float[Tensor, " upper"]]], *, labels: int
) -> Classifier:
    """Sigmoid layers, and a softmax on top that begins with every label equally likely."""
    units = layers[-1][0].shape[1]
    top = layers[-1][1]
    return Classifier(
        W=(*(W.clone() for W, _ in layers), top.new_zeros(units, labels)),
        b=(*(b.clone() for _, b in layers), top.new_zeros(labels)),
    )


def fine_tune(
    begin: Classifier,
    data: LabelledData,
    held_out: LabelledData,
    *,
    table: ClassifyTable,
    seed: int,
    run: Run,
    stop: Callable[[], bool],
    views: Views | None = None,
) -> Classifier:
    """Train on the cross-entropy of the labels, or go on; returns the averaged classifier.

    `views` gives the inputs of a batch anew each time, from its first input.

    Raises:
        Interrupted: `stop` said so; a checkpoint is written.
        TrainingDiverged: a weight is no longer finite.
    """
    generator = torch.Generator(data.labels.device).manual_seed(seed)
    stages = Stages(run, generator, minutes=table.checkpoint_minutes, stop=stop)
    done, kept = stages.begin(STAGE)
    learner = _Learner.begin(begin) if kept is None else _Learner(kept)
    plan = _Plan(images=len(data), table=table, seed=seed)
    with run.progress("classifier", total=plan.total, done=done) as bar:
        for number, rows, rate in plan.steps(done):
            batch = data.take(rows.to(data.labels.device))
            if views is not None:
                batch = LabelledData(views(batch.inputs[0], generator), batch.labels)
            loss = learner.update(batch, number=number, table=table, rate=rate, generator=generator)
            shown = {"loss": loss} if number % FIGURES_EVERY == 0 else {}
            bar.advance(images=len(batch), **shown)
            if number % plan.per_epoch == 0:
                wrong = error(learner.averaged, held_out)
                run.record(number, classifier__held_out_error=wrong, classifier__loss=loss)
            stages.after_update(lambda: learner.named, last=number == plan.total)
    return learner.averaged


def distorted(
    table: ClassifyTable, shape: tuple[int, int, int]
) -> Callable[[Float[Tensor, "batch units"], torch.Generator], Float[Tensor, "batch units"]] | None:
    """What changes rows of pixels as the table says; None where it says nothing."""
    if not table.distorts:
        return None

    def change(rows: Tensor, generator: torch.Generator) -> Tensor:
        return distort(
            rows.view(-1, *shape),
            affine=table.affine,
            elastic_pixels=table.elastic_pixels,
            generator=generator,
        ).view(len(rows), -1)

    return change


def restored_classifier(run: Path) -> Classifier | None:
    """The averaged classifier of a run's newest checkpoint, or None if there is none."""
    checkpoint = newest_checkpoint(run)
    return None if checkpoint is None else _Learner(checkpoint["tensors"]).averaged


def error(classifier: Classifier, data: LabelledData, *, batch: int = 1000) -> float:
    """Share of the images whose most probable label is wrong."""
    wrong = 0
    for rows in torch.split(torch.arange(len(data)), batch):
        part = data.take(rows)
        wrong += int((classifier.logits(part.inputs).argmax(1) != part.labels).sum())
    return wrong / len(data)


@dataclass(frozen=True)
class _Plan:
    """Every update of a fine-tuning, in order; a pure function of its fields."""

    images: int
    table: ClassifyTable
    seed: int

    @property
    def per_epoch(self) -> int:
        return -(-self.images // self.table.batch)

    @property
    def total(self) -> int:
        return self.table.epochs * self.per_epoch

    def steps(self, done: int) -> Iterator[tuple[int, Tensor, float]]:
        """(number, rows, learning rate) of the updates after the first `done` ones."""
        first, last = self.table.learning_rate, self.table.final_learning_rate
        for epoch in range(done // self.per_epoch, self.table.epochs):
            shuffler = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            order = torch.randperm(self.images, generator=shuffler)
            for i, rows in enumerate(torch.split(order, self.table.batch)):
                number = epoch * self.per_epoch + i
                if number >= done:
                    yield number + 1, rows, first + (last - first) * number / self.total


class _Learner:
    """Weights, their average and Adam's moments, by name, so everything that a checkpoint keeps."""

    def __init__(self, named: dict[str, Tensor]) -> None:
        self.named = named

    @classmethod
    def begin(cls, classifier: Classifier) -> _Learner:
        named: dict[str, Tensor] = {}
        for name, tensor in classifier.tensors().items():
            named |= {f"now.{name}": tensor.clone(), f"ema.{name}": tensor.clone()}
            named |= {f"m.{name}": torch.zeros_like(tensor), f"s.{name}": torch.zeros_like(tensor)}
        return cls(named)

    @property
    def averaged(self) -> Classifier:
        return Classifier.of(self._part("ema"))

    def update(
        self,
        batch: LabelledData,
        *,
        number: int,
        table: ClassifyTable,
        rate: float,
        generator: torch.Generator,
    ) -> float:
        """Step `number` of Adam on the cross-entropy, in place; returns the loss in nats."""
        now = self._part("now")
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in now.items()}

        def drop(x: Tensor, layer: int) -> Tensor:
            share = table.dropout if layer else table.input_dropout
            kept = torch.rand(x.shape, generator=generator, device=x.device) >= share
            return x * kept / (1 - share)

        loss = cross_entropy(Classifier.of(leaves).logits(batch.inputs, drop), batch.labels)
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        with torch.no_grad():
            for name, gradient in zip(leaves, gradients, strict=True):
                adam_step(self.named, name, gradient, rate=rate, t=number)
                self.named[f"ema.{name}"].lerp_(now[name], 1 - table.ema_decay)
        return float(loss.detach())

    def _part(self, kind: str) -> dict[str, Tensor]:
        named = self.named.items()
        return {n.removeprefix(f"{kind}."): t for n, t in named if n.startswith(f"{kind}.")}
