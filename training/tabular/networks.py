"""The two players of a tabular GAN.

z, known cells, mask ──► RowGenerator ──► α, noisy logits ──soften──► rows ──► RowCritic ──► logit

A latent z is standard normal: its first numbers are the code, one number for each entry of a choice
is the noise that decides it. So a row is a function of z and of what is known of it, in training
and in the service alike: argmax(logits + Gumbel noise) is a draw from softmax(logits).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from service.contract import TableData
from service.domain.rows import TableCodec

LEAK = 0.2
# Φ(±5) is 3·10⁻⁷: float32 still tells it from 0 and 1, and no draw of a table will miss the rest.
FARTHEST = 5.0


@dataclass(frozen=True)
class RowShape:
    """The sizes that both players share.

    Attributes:
        choices: start and end of each column's choice in an encoded row.
        widths: how many numbers each column has in an encoded row.
        latent: numbers of z that are the code.
        hidden: units of a layer of the generator.
        depth: residual layers of the generator.
        critic: units of a layer of the critic.
        pack: rows that the critic judges together (PacGAN, Lin et al. 2018).
        dropout: of the critic's layers.
    """

    choices: tuple[tuple[int, int], ...]
    widths: tuple[int, ...]
    latent: int = 64
    hidden: int = 192
    depth: int = 2
    critic: int = 256
    pack: int = 10
    dropout: float = 0.0

    @classmethod
    def of(cls, data: TableData, **sizes: float) -> RowShape:
        """The shape for a table."""
        blocks = TableCodec(data).blocks
        return cls(
            choices=tuple((b.choices.start, b.choices.stop) for b in blocks),
            widths=tuple(b.column.width for b in blocks),
            **sizes,  # type: ignore[arg-type]
        )

    @property
    def width(self) -> int:
        """Numbers of an encoded row."""
        return sum(self.widths)

    @property
    def columns(self) -> int:
        """Columns of the table."""
        return len(self.widths)

    @property
    def noise(self) -> int:
        """Numbers of z that decide choices."""
        return sum(end - start for start, end in self.choices)

    @property
    def z_size(self) -> int:
        """All of z."""
        return self.latent + self.noise


class RowGenerator(nn.Module):
    """G: z and what is known of a row ↦ the row, as α and logits with their Gumbel noise."""

    def __init__(self, shape: RowShape) -> None:
        super().__init__()
        self.shape = shape
        entry = shape.latent + shape.width + shape.columns
        self.entry = nn.Sequential(nn.Linear(entry, shape.hidden), nn.BatchNorm1d(shape.hidden))
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(shape.hidden, shape.hidden), nn.BatchNorm1d(shape.hidden))
            for _ in range(shape.depth)
        )
        self.exit = nn.Linear(shape.hidden, shape.width)

    def forward(
        self,
        z: Float[Tensor, "n z"],
        values: Float[Tensor, "n width"],
        mask: Float[Tensor, "n columns"],
    ) -> Float[Tensor, "n width"]:
        """α in [−1, 1], and logits + noise; known cells are written anew, not copied."""
        code, normal = z[:, : self.shape.latent], z[:, self.shape.latent :]
        h = torch.relu(self.entry(torch.cat([code, values, mask], dim=1)))
        for layer in self.layers:
            h = h + torch.relu(layer(h))
        raw: Tensor = self.exit(h)
        pieces, used, at = [], 0, 0
        for (start, end), width in zip(self.shape.choices, self.shape.widths, strict=True):
            if end - start < width:
                pieces.append(torch.tanh(raw[:, at:start]))
            noise = gumbel(normal[:, used : used + end - start])
            pieces.append(raw[:, start:end] + noise)
            used, at = used + end - start, at + width
        return torch.cat(pieces, dim=1)


class RowCritic(nn.Module):
    """D: packs of rows and of masks ↦ a logit of realism."""

    def __init__(self, shape: RowShape) -> None:
        super().__init__()
        self.pack = shape.pack
        layers: list[nn.Module] = []
        fan_in = shape.pack * (shape.width + shape.columns)
        for _ in range(2):
            layers += [nn.Linear(fan_in, shape.critic), nn.LeakyReLU(LEAK)]
            layers += [nn.Dropout(shape.dropout)] if shape.dropout else []
            fan_in = shape.critic
        self.layers = nn.Sequential(*layers, nn.Linear(fan_in, 1))

    def forward(self, seen: Float[Tensor, "n seen"]) -> Float[Tensor, " packs"]:
        """One logit a pack of rows that lie together; `seen` is each row and its mask."""
        logits: Tensor = self.layers(seen.reshape(len(seen) // self.pack, -1))
        return logits[:, 0]


def gumbel(normal: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """Standard Gumbel noise from standard normals: −log(−log Φ(z))."""
    z = normal.clamp(-FARTHEST, FARTHEST)
    uniform = (0.5 * (1.0 + torch.erf(z * math.sqrt(0.5)))).clamp(1e-7, 1.0 - 1e-7)
    return -torch.log(-torch.log(uniform))


def soften(
    x: Float[Tensor, "n width"], *, shape: RowShape, temperature: float
) -> Float[Tensor, "n width"]:
    """Choices as softmax((logits + noise)/τ), which has a gradient. Jang et al. (2017), eq. 2."""
    pieces, at = [], 0
    for (start, end), width in zip(shape.choices, shape.widths, strict=True):
        pieces += [x[:, at:start], torch.softmax(x[:, start:end] / temperature, dim=1)]
        at += width
    return torch.cat(pieces, dim=1)


def held(mask: Float[Tensor, "n columns"], *, shape: RowShape) -> Float[Tensor, "n width"]:
    """The mask of columns as one of entries."""
    widths = torch.tensor(shape.widths, device=mask.device)
    return mask.repeat_interleave(widths, dim=1)
