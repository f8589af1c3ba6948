"""The judge: a small classifier that shares nothing with the generators whose samples it judges.

images ──► Judge ──► class logits (histograms) and 64 features (Fréchet distance, precision, …)

Its weights are committed (`training/judges/<data>.safetensors`), and a figure made with them is
printed beside the file's sha256, for figures of two judges cannot be compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as dump_safetensors
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from service.contract import sha256_of
from training.config import Table
from training.networks import fast, seeded
from training.resample import resample
from training.run import check_finite

JUDGES = Path(__file__).parent / "judges"
FEATURES = 64
GREY_WIDTHS, COLOUR_WIDTHS = (32, 48, 96), (48, 96, 160)


class Judge(nn.Module):
    """Three convolutions and two linear layers: side → side/2 → side/4 → side/8 → 64 → classes.

    The width grows with what there is to see: 32 channels for one of ink, 48 for three of colour.
    """

    def __init__(self, classes: int = 10, *, channels: int = 1, side: int = 28) -> None:
        super().__init__()
        self.shape = (channels, side, side)
        a, b, c = GREY_WIDTHS if channels == 1 else COLOUR_WIDTHS
        self.trunk = nn.Sequential(
            *_block(channels, a, 5, stride=2),
            *_block(a, b, 3),
            nn.MaxPool2d(2),
            *_block(b, c, 3),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(c * (side // 8) ** 2, FEATURES, bias=False),
            nn.BatchNorm1d(FEATURES),
            nn.ReLU(),
        )
        self.head = nn.Linear(FEATURES, classes)

    def features(self, x: Float[Tensor, "n c side side"]) -> Float[Tensor, "n 64"]:
        """The penultimate layer, of images in [0, 1]."""
        f: Tensor = self.trunk(2.0 * x - 1.0)
        return f

    def forward(self, x: Float[Tensor, "n c side side"]) -> Float[Tensor, "n classes"]:
        """Class logits."""
        logits: Tensor = self.head(self.features(x))
        return logits


def _block(fan_in: int, fan_out: int, kernel: int, *, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(fan_in, fan_out, kernel, stride, padding=kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(fan_out), nn.ReLU()]


@dataclass(frozen=True)
class Verdict:
    """What the judge sees in a set of images."""

    features: Float[np.ndarray, "n 64"]
    probabilities: Float[np.ndarray, "n classes"]

    @property
    def classes(self) -> Int[np.ndarray, " n"]:
        """The likeliest class of every image."""
        likeliest: Int[np.ndarray, " n"] = self.probabilities.argmax(1)
        return likeliest


@dataclass(frozen=True)
class Bench:
    """A judge that is ready to judge, and the digest that names it."""

    judge: Judge
    sha256: str

    @torch.no_grad()
    def look(self, images: Tensor | np.ndarray, *, batch: int = 500) -> Verdict:
        """Features and class probabilities of images [n, C, side, side] in [0, 1]."""
        x = torch.as_tensor(images, dtype=torch.float32)
        features = torch.cat([self.judge.features(part) for part in torch.split(x, batch)])
        probabilities = self.judge.head(features).softmax(1)
        return Verdict(features=features.numpy(), probabilities=probabilities.numpy())

    def knows(self, shape: tuple[int, ...]) -> bool:
        """Whether it can look at images of [C, H, W]."""
        return self.judge.shape == shape

    def accuracy(self, images: Tensor | np.ndarray, labels: Tensor | np.ndarray) -> float:
        """The share of images whose likeliest class is their label."""
        return float((self.look(images).classes == np.asarray(labels)).mean())


def load_judge(data: str = "mnist") -> Bench:
    """The committed judge of a data set.

    Raises:
        FileNotFoundError: there is none; says how to make it.
    """
    path = JUDGES / f"{data}.safetensors"
    if not path.exists():
        raise FileNotFoundError(
            f"no judge for {data!r}: `reverie train training/configs/{data}-judge.toml` makes it"
        )
    return parse_judge(path.read_bytes())


def parse_judge(content: bytes) -> Bench:
    """A judge from the bytes of its safetensors file."""
    weights = parse_safetensors(content)
    last, flat = weights["trunk.7.weight"].shape[0], weights["trunk.12.weight"].shape[1]
    side = {3: 28, 4: 32}[math.isqrt(flat // last)]
    channels = weights["trunk.0.weight"].shape[1]
    judge = Judge(weights["head.bias"].shape[0], channels=channels, side=side)
    judge.load_state_dict(weights)
    return Bench(judge=judge.eval().requires_grad_(False), sha256=sha256_of(content))


def dump_judge(judge: Judge) -> bytes:
    """The bytes of a safetensors file with the judge's weights."""
    return dump_safetensors({k: v.contiguous() for k, v in judge.state_dict().items()})


class JudgeTraining(Table):
    """The `[train]` table of a judge's recipe: one cycle of the rate, images shaken a little."""

    epochs: int = Field(12, ge=1, description="Passes over the images.")
    batch: int = Field(128, ge=2, description="Images a step.")
    learning_rate: float = Field(0.004, gt=0, description="AdamW's, at its highest.")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's.")
    label_smoothing: float = Field(0.05, ge=0, lt=1, description="Share spread over all classes.")
    flip: bool = Field(default=False, description="Mirror half of the images: never digits.")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Of the convolutions; bfloat16 is faster on AVX512-BF16."
    )

    def rate(self, progress: float) -> float:
        """Up over the first fifth, then down a half cosine; `progress` ∈ [0, 1]."""
        if progress < 0.2:
            return self.learning_rate * progress / 0.2
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * (progress - 0.2) / 0.8))


def judge_step(
    judge: Judge,
    optimizer: torch.optim.Optimizer,
    *,
    images: Float[Tensor, "n c side side"],
    labels: Int[Tensor, " n"],
    how: JudgeTraining,
    generator: torch.Generator,
) -> float:
    """One step of cross-entropy on shaken images; returns the loss."""
    shaken = shake(images, generator=generator)
    if how.flip:
        mirrored = torch.rand(len(shaken), generator=generator) < 0.5
        shaken = torch.where(mirrored[:, None, None, None], shaken.flip(3), shaken)
    lower = how.precision == "bfloat16"
    with torch.autocast("cpu", torch.bfloat16, enabled=lower):
        logits = judge(shaken.contiguous(memory_format=torch.channels_last))
    loss = cross_entropy(logits.float(), labels, label_smoothing=how.label_smoothing)
    optimizer.zero_grad()
    torch.autograd.backward([loss])
    optimizer.step()
    return float(loss.detach())


def shake(
    images: Float[Tensor, "n c h w"], *, generator: torch.Generator
) -> Float[Tensor, "n c h w"]:
    """Each image under its own small affine map: ±12°, ±12 % in size, ±2 pixels of 28."""
    return resample(images, small_maps(len(images), generator=generator))


def small_maps(n: int, *, generator: torch.Generator, share: float = 1.0) -> Float[Tensor, "n 2 3"]:
    """Affine maps of `shake`, each its own; `share` of their angles, sizes and shifts."""
    u = share * (torch.rand(n, 4, generator=generator) * 2.0 - 1.0)
    angle, scale = u[:, 0] * math.radians(12.0), 1.0 + 0.12 * u[:, 1]
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    shift = u[:, 2:] * (2.0 / 14.0)
    rows = torch.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], dim=1)
    return rows.view(n, 2, 3)


def train_judge(
    images: Float[Tensor, "n c side side"],
    labels: Int[Tensor, " n"],
    *,
    how: JudgeTraining,
    seed: int,
    on_step: Callable[[int, float], None],
) -> Judge:
    """A judge trained from scratch; the same seed gives the same weights on the same machine.

    Args:
        images: in [0, 1].
        labels: class indices from 0.
        how: epochs, batch and rates.
        seed: of the first weights, the order and the shaking.
        on_step: called with the number of steps done and the loss.

    Raises:
        TrainingDiverged: the loss is not finite.
    """
    classes, channels, side = int(labels.max()) + 1, images.shape[1], images.shape[3]
    made = seeded(lambda: Judge(classes, channels=channels, side=side), seed=seed)
    judge = fast(made).train()
    optimizer = torch.optim.AdamW(judge.parameters(), weight_decay=how.weight_decay)
    generator = torch.Generator().manual_seed(seed)
    total, done = how.epochs * (len(images) // how.batch), 0
    for _ in range(how.epochs):
        order = torch.randperm(len(images), generator=generator)
        for rows in torch.split(order, how.batch):
            if len(rows) < how.batch:
                break  # a batch norm over a handful of images is noise
            for group in optimizer.param_groups:
                group["lr"] = how.rate(done / total)
            loss = judge_step(
                judge,
                optimizer,
                images=images[rows],
                labels=labels[rows],
                how=how,
                generator=generator,
            )
            done += 1
            check_finite("the judge's loss", loss, step=done)
            on_step(done, loss)
    judge.eval().requires_grad_(False)
    return judge
