"""What a caller may ask of a model, and what comes back: plain frozen data, no HTTP.

schemas ──► query ──► engine ──► result ──► encoding
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from service.contract import TableData

Images = Float[np.ndarray, "n channels height width"]
Cells = Float[np.ndarray, "n columns"]  # a number or a category's index; NaN is null
Priority = Literal["interactive", "batch"]


@dataclass
class Call:
    """One request's circumstances: until when, how urgent, and where its time went.

    `deadline` is on the monotonic clock, in seconds. `phases_s` is filled in as the call proceeds.
    """

    deadline: float = field(default_factory=lambda: time.monotonic() + 60.0)
    priority: Priority = "interactive"
    phases_s: dict[str, float] = field(default_factory=dict)

    @classmethod
    def lasting(cls, seconds: float, priority: Priority = "interactive") -> Call:
        """A call whose deadline is `seconds` from now."""
        return cls(deadline=time.monotonic() + seconds, priority=priority)

    def spend(self, phase: str, seconds: float) -> None:
        """Add to a phase: decode, queue, compute or encode."""
        self.phases_s[phase] = self.phases_s.get(phase, 0.0) + seconds


@dataclass(frozen=True, kw_only=True)
class Sample:
    """`n` draws from the model. Row i depends on the seed and i alone."""

    n: int = 1
    seed: int | None = None
    labels: tuple[int, ...] | None = None
    conditions: tuple[tuple[int, float], ...] = ()  # tables: (column, cell) that every row has
    latents: Float[np.ndarray, "n latent"] | None = None
    truncation: float | None = None
    temperature: float | None = None
    burn_in: int | None = None
    start: Literal["fresh", "pool"] | None = None
    values: Literal["mean", "sample"] = "mean"


@dataclass(frozen=True)
class SeedPoint:
    """The latent of row `row` of `sample` with this seed."""

    seed: int
    row: int = 0


@dataclass(frozen=True)
class LatentPoint:
    """A latent, or hidden features, as the model's `encode` gives them."""

    latent: Float[np.ndarray, " latent"]


@dataclass(frozen=True)
class ImagePoint:
    """An image, which is encoded."""

    image: Float[np.ndarray, "channels height width"]


Point = SeedPoint | LatentPoint | ImagePoint


@dataclass(frozen=True, kw_only=True)
class Interpolate:
    """A path through the latent space: along `points`, or over a grid between four corners."""

    points: tuple[Point, ...]
    frames: int = 16
    method: Literal["slerp", "lerp"] | None = None
    loop: bool = False
    labels: tuple[int, ...] | None = None
    grid: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Inpaint:
    """Fill what `mask` marks with 1: one mask for all images, or one each."""

    images: Images
    mask: Float[np.ndarray, "masks height width"]
    n: int = 1
    seed: int | None = None
    steps: int | None = None


@dataclass(frozen=True, kw_only=True)
class InpaintRows:
    """Fill the cells of a table's rows that are not `known`, `n` times each."""

    rows: Cells
    known: NDArray[np.bool_]
    n: int = 1
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Score:
    """How unusual each image is."""

    images: Images
    explain: bool = False
    alpha: float = 0.05
    method: str | None = None


@dataclass(frozen=True, kw_only=True)
class Encode:
    """Latent or hidden features of each image."""

    images: Images


@dataclass(frozen=True, kw_only=True)
class Reconstruct:
    """Each image as the model sees it: decoded from its features."""

    images: Images


@dataclass(frozen=True, kw_only=True)
class Classify:
    """Class probabilities of each image."""

    images: Images


Query = Sample | Interpolate | Inpaint | InpaintRows | Score | Encode | Reconstruct | Classify


@dataclass(frozen=True)
class Diagnostics:
    """What is known of the chains behind a sample. R-hat near 1 and a large ESS are good."""

    sweeps: int
    split_rhat: float | None = None
    ess: float | None = None
    chain_age_sweeps: int | None = None


@dataclass(frozen=True)
class Sampled:
    """`samples` float32 [n, C, H, W] in [0, 1]; `seed` is None when nothing was drawn.

    Of a table they are cells, float64 [n, columns].
    """

    samples: Images | Cells
    seed: int | None
    diagnostics: Diagnostics | None = None
    table: TableData | None = None


@dataclass(frozen=True)
class Interpolated:
    """`frames` float32 [frames, C, H, W] and the latents they were made from."""

    frames: Images
    latents: Float[np.ndarray, "frames latent"]


@dataclass(frozen=True)
class Inpainted:
    """`samples` float32 [images, n, C, H, W]; known values are those that came in, bit for bit.

    Of a table they are cells, float64 [rows, n, columns].
    """

    samples: Float[np.ndarray, "images n *example"]
    seed: int
    hole_fraction: float
    table: TableData | None = None


@dataclass(frozen=True)
class Scored:
    """Scores and conformal p-values, one an image; `p_values` is None without calibration."""

    scores: Float[np.ndarray, " n"]
    p_values: Float[np.ndarray, " n"] | None
    anomalous: NDArray[np.bool_] | None
    threshold: float | None
    alpha: float
    method: str
    n_calibration: int
    heatmaps: Images | None = None


@dataclass(frozen=True)
class Encoded:
    """Features float32 [n, features]."""

    features: Float[np.ndarray, "n features"]


@dataclass(frozen=True)
class Reconstructed:
    """Images float32 [n, C, H, W]."""

    images: Images


@dataclass(frozen=True)
class Classified:
    """Probabilities float32 [n, classes] and the classes' names."""

    probabilities: Float[np.ndarray, "n classes"]
    labels: tuple[str, ...]


Result = Sampled | Interpolated | Inpainted | Scored | Encoded | Reconstructed | Classified
