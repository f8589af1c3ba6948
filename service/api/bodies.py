"""The JSON answers as schemas, for the OpenAPI document and for tests that compare the two.

Answers are written straight from arrays and never pass through these classes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Numbers = Annotated[list[Any], Field(json_schema_extra={"items": {}})]
Digest = Annotated[str, Field(pattern="^sha256:[0-9a-f]{64}$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _OfModel(_Body):
    model: str = Field(description="name@version")
    digest: Digest


class Diagnostics(_Body):
    """What is known of the chains behind a sample: R-hat near 1 and a large ESS are good."""

    sweeps: int
    split_rhat: float | None = None
    ess: float | None = None
    chain_age_sweeps: int | None = None


class SampleAnswer(_OfModel):
    """`samples`: float32 [n, C, H, W] in [0, 1]; of a table, a list of rows keyed by column."""

    seed: int | None = Field(description="Send it to get the same samples; null: not seeded.")
    shape: list[int]
    samples: Numbers
    diagnostics: Diagnostics | None = None


class InterpolateAnswer(_OfModel):
    """`frames`: float32 [frames, C, H, W]; `latents`: [frames, latent]."""

    shape: list[int]
    frames: Numbers
    latents: Numbers


class InpaintAnswer(_OfModel):
    """`samples`: float32 [images, n, C, H, W]; known values are those that were sent.

    Of a table, a list of `n` rows for each row that was sent.
    """

    seed: int
    shape: list[int]
    samples: Numbers
    hole_fraction: float


class ScoreAnswer(_OfModel):
    """One number an image; higher scores are more anomalous."""

    scores: Numbers
    p_values: Numbers | None = Field(description="Conformal; null without calibration.")
    anomalous: list[bool] | None = Field(description="p ≤ alpha.")
    threshold: float | None = Field(description="The score at which p falls to alpha.")
    alpha: float
    method: str
    n_calibration: int
    heatmaps: Numbers | None = Field(None, description="[n, C, H, W], with explain.")


class EncodeAnswer(_OfModel):
    """`features`: float32 [n, features]."""

    shape: list[int]
    features: Numbers


class ReconstructAnswer(_OfModel):
    """`images`: float32 [n, C, H, W]."""

    shape: list[int]
    images: Numbers


class ClassifyAnswer(_OfModel):
    """`probabilities`: [n, classes], in the order of `labels`."""

    labels: list[str]
    probabilities: Numbers


class Data(_Body):
    """What the model's examples look like to a client."""

    kind: Literal["image", "table"]
    shape: list[int] | None = Field(None, description="[C, H, W]")
    columns: list[dict[str, Any]] | None = Field(
        None, description="Of a table: name, kind, what its values are."
    )
    label_column: str | None = Field(None, description="The column that `labels` speak of.")


class LatentPrior(_Body):
    """What `generate` draws from."""

    size: int
    prior: Literal["normal", "uniform"]


class ModelSummary(_Body):
    """One package in the store, loaded or not."""

    name: str
    version: int
    digest: Digest | None
    family: str | None
    capabilities: list[str]
    state: Literal["loading", "ready", "failed"]
    reason: str | None = None
    data: Data | None
    latent: LatentPrior | None = None
    runtime: str | None
    device: str | None


class ModelPage(ModelSummary):
    """Everything that is known of one model."""

    description: str | None = None
    limits: dict[str, int] | None = None
    defaults: dict[str, Any] | None = None
    operations: dict[str, list[str]] | None = Field(None, description="The formats of each.")
    functions: dict[str, Any] | None = None
    scores: list[dict[str, Any]] | None = Field(None, description="`method` of score: these.")
    quality: list[dict[str, Any]] | None = Field(None, description="Each with its protocol.")
    provenance: dict[str, Any] | None = None
    labels: list[str] | None = None
    interpolation: str | None = None
    seeds: str | None = Field(None, description="What is promised of seeds on this device.")


class ModelList(_Body):
    """Every package, by name and version."""

    models: list[ModelSummary]


class ModelState(_Body):
    """How far one package is."""

    model: str
    state: Literal["loading", "ready", "failed"]
    reason: str | None = None


class Readiness(_Body):
    """Whether to send requests here."""

    status: Literal["ready", "loading", "draining"]
    models: list[ModelState]


class Liveness(_Body):
    """Whether the process works."""

    status: Literal["alive", "dead"]


class FieldProblem(_Body):
    """One field that is wrong."""

    pointer: str = Field(description="JSON pointer (RFC 6901) into the request.")
    detail: str


class Problem(_Body):
    """An error, as RFC 9457 has it."""

    type: str = Field(description="A stable URN.", examples=["urn:reverie:problem:invalid-input"])
    title: str
    status: int
    detail: str = Field(description="Names the value, the limit and the remedy.")
    request_id: str
    errors: list[FieldProblem] | None = None


ANSWERS: dict[str, type[BaseModel]] = {
    "sample": SampleAnswer,
    "interpolate": InterpolateAnswer,
    "inpaint": InpaintAnswer,
    "score": ScoreAnswer,
    "encode": EncodeAnswer,
    "reconstruct": ReconstructAnswer,
    "classify": ClassifyAnswer,
}
