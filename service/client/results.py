"""What calls give back: frozen data, arrays in data space [0, 1], and where they come from.

reply ──operations──► Samples | Frames | Fillings | Scores | Features | Reconstructions | Classes
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image

from service.client.files import frame_of_rows
from service.client.pictures import pictures

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]  # one example of a table, by column


@dataclass(frozen=True)
class Timing:
    """Where the server spent the request's time, in milliseconds."""

    decode_ms: float = 0.0
    queue_ms: float = 0.0
    compute_ms: float = 0.0
    encode_ms: float = 0.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Result:
    """What every answer says of itself.

    Attributes:
        model: `name@version` of the model that answered.
        digest: of its package: the same digest and seed give the same bytes.
        request_id: what the service's log has this request under.
        etag: a seeded answer's entity tag, or None.
        timing: the server's time by phase.
    """

    model: str
    digest: str
    request_id: str
    etag: str | None
    timing: Timing


@dataclass(frozen=True)
class Diagnostics:
    """What is known of the chains behind a sample: R-hat near 1 and a large ESS are good."""

    sweeps: int
    split_rhat: float | None = None
    ess: float | None = None
    chain_age_sweeps: int | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class _Examples(Result):
    """Answers that hold examples: arrays of images, or rows of a table."""

    examples: NDArray[np.float32] | list[Any]

    @property
    def array(self) -> NDArray[np.float32]:
        """The images, float32 in [0, 1]; the class says in which shape.

        Raises:
            TypeError: the model is one of tables.
        """
        if isinstance(self.examples, list):
            raise TypeError(f"{self.model} is a model of tables; its examples are in `.rows`")
        return self.examples

    @property
    def rows(self) -> list[Any]:
        """The rows of a model of tables, by column.

        Raises:
            TypeError: the model is one of images.
        """
        if not isinstance(self.examples, list):
            raise TypeError(f"{self.model} is a model of images; its examples are in `.array`")
        return self.examples

    def to_pandas(self) -> pd.DataFrame:
        """The rows of a model of tables, one a line; of fillings with `_row` and `_filling`.

        Raises:
            TypeError: the model is one of images.
            ImportError: pandas is not installed.
        """
        return frame_of_rows(self.rows)

    def images(self) -> list[Image.Image]:
        """One picture an image, in order: 8 bits a channel, grey or RGB."""
        return pictures(self.array.reshape(-1, *self.array.shape[-3:]))


@dataclass(frozen=True, eq=False, kw_only=True)
class Samples(_Examples):
    """`array` [n, C, H, W].

    Attributes:
        seed: what to send to get the same samples; None for those of the pool.
        diagnostics: of the chains of an energy model; None for others, and where not asked for.
    """

    seed: int | None
    diagnostics: Diagnostics | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Frames(_Examples):
    """A path: `array` [frames, C, H, W], and the latents it was made from."""

    latents: Float[np.ndarray, "frames latent"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Fillings(_Examples):
    """`array` [images, n, C, H, W]; filling j of image i is `images()[i * n + j]`.

    Attributes:
        seed: what to send to get the same fillings.
        hole_fraction: the share of values that was filled.
    """

    seed: int
    hole_fraction: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Reconstructions(_Examples):
    """Each image as the model sees it: `array` [n, C, H, W]."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Scores(Result):
    """How unusual each example is; higher scores are more anomalous.

    Attributes:
        scores: one an example.
        p_values: conformal, one an example: how often normal data look as unusual; None where the
            model was not calibrated, as are `anomalous` and `threshold`.
        anomalous: p ≤ alpha.
        threshold: the score at which p falls to alpha.
        alpha: the share of normal data that is flagged.
        method: which of the model's scores this is.
        n_calibration: held-out normal examples behind the p-values.
        heatmaps: [n, C, H, W], where each image is unusual; with `explain`.
    """

    scores: Float[np.ndarray, " n"]
    p_values: Float[np.ndarray, " n"] | None
    anomalous: NDArray[np.bool_] | None
    threshold: float | None
    alpha: float
    method: str
    n_calibration: int
    heatmaps: Float[np.ndarray, "n channels height width"] | None = None

    @property
    def array(self) -> Float[np.ndarray, " n"]:
        """The scores."""
        return self.scores


@dataclass(frozen=True, eq=False, kw_only=True)
class Features(Result):
    """Latent or hidden features of each image: `array` float32 [n, features]."""

    array: Float[np.ndarray, "n features"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Classes(Result):
    """Class probabilities of each image: `array` float32 [n, classes], in the order of `labels`."""

    array: Float[np.ndarray, "n classes"]
    labels: tuple[str, ...]

    def names(self) -> list[str]:
        """The most probable class of each image."""
        return [self.labels[i] for i in self.array.argmax(axis=1)]


@dataclass(frozen=True)
class Model:
    """One model of the service.

    Attributes:
        kind: what its examples are: `image` or `table`; None for a package that cannot be read.
        shape: [C, H, W] of its images.
        state: `loading`, `ready` or `failed`, with its `reason`.
        document: all that the server says of it, as it says it.
    """

    name: str
    version: int
    digest: str | None
    family: str | None
    capabilities: tuple[str, ...]
    state: str
    reason: str | None
    kind: str | None
    shape: tuple[int, ...] | None
    document: Mapping[str, Any]
