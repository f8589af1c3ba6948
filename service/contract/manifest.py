"""What a manifest may say: functions, tensors and their roles, data, scores, figures.

A package is a set of named pure functions. What a model can do is derived from the functions that
are there (`Manifest.capabilities`), never from its family.
"""

from __future__ import annotations

import hashlib
import json
import math
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from service.contract.images import ImageData
from service.contract.reference import Reference
from service.contract.tables import TableData

TORCHSCRIPT_SUFFIXES = (".pt", ".ts")
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Dtype = Literal["float32", "int32", "int64", "uint8", "uint16", "bool"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Role(StrEnum):
    """What the service feeds to an input, or reads from an output, of a function."""

    LATENT = "latent"  # a draw from the model's latent prior
    LABEL = "label"  # a class index
    DATA = "data"  # an example in the network's own range (see ImageData.range)
    HIDDEN = "hidden"  # hidden features: probabilities, or a GAN's latent code
    MASK = "mask"  # 1 where a value is missing
    NOISE = "noise"  # uint16: uniform integers; float32: standard normals
    LOGISTIC = "logistic"  # float32: logit((u + ½)/2¹⁶) of uniform 16-bit integers u
    STATE = "state"  # of a chain; a step function's state outputs feed its state inputs
    CLAMP_MASK = "clamp_mask"  # 1 where a visible unit is held
    CLAMP_VALUES = "clamp_values"  # what it is held at
    BETA = "beta"  # inverse temperature β = 1/T
    SCORE = "score"  # higher is more anomalous
    HEATMAP = "heatmap"  # where an example is unusual, in data shape
    PROBABILITIES = "probabilities"  # of classes
    STATISTIC = "statistic"  # one number a row, for chain diagnostics


class TensorSpec(_Frozen):
    """One input or output: its name in the graph, dtype, symbolic shape and role."""

    name: str
    dtype: Dtype
    shape: tuple[int | str, ...] = Field(description="The first axis is 'n', the rows of a batch.")
    role: Role

    @field_validator("shape")
    @classmethod
    def _leads_with_rows(cls, shape: tuple[int | str, ...]) -> tuple[int | str, ...]:
        if not shape or shape[0] != "n" or not all(isinstance(d, int) and d > 0 for d in shape[1:]):
            raise ValueError(f"shape {shape} must be 'n' followed by positive sizes")
        return shape

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row, without the batch axis."""
        return tuple(int(d) for d in self.shape[1:])

    @property
    def row_size(self) -> int:
        """How many numbers one row has."""
        return math.prod(self.row_shape)


class FunctionSpec(_Frozen):
    """One pure function in one file: `map` runs once a row, `step` is iterated."""

    kind: Literal["map", "step"] = "map"
    file: FileName
    sha256: Sha256
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    start: str | None = Field(
        None, description="Step functions: the map function of the first state."
    )
    readout: str | None = Field(None, description="Step functions: state → data.")
    exact: bool = Field(
        default=False,
        description="Integer or fixed-point: the same bytes for every batch and device.",
    )

    @property
    def format(self) -> Literal["onnx", "torchscript"]:
        """What the file is, by its suffix: `.pt` and `.ts` are TorchScript, all others ONNX."""
        return "torchscript" if self.file.endswith(TORCHSCRIPT_SUFFIXES) else "onnx"

    def input(self, role: Role) -> TensorSpec | None:
        """The input with this role, or None."""
        return next((t for t in self.inputs if t.role is role), None)

    def output(self, role: Role) -> TensorSpec | None:
        """The output with this role, or None."""
        return next((t for t in self.outputs if t.role is role), None)

    @property
    def noises(self) -> tuple[TensorSpec, ...]:
        """The inputs that are drawn, in the order in which a row's stream feeds them."""
        return tuple(t for t in self.inputs if t.role in {Role.NOISE, Role.LOGISTIC})

    @property
    def state_pairs(self) -> tuple[tuple[TensorSpec, TensorSpec], ...]:
        """(state input, state output) in order."""
        ins = [t for t in self.inputs if t.role is Role.STATE]
        outs = [t for t in self.outputs if t.role is Role.STATE]
        return tuple(zip(ins, outs, strict=True))

    @model_validator(mode="after")
    def _step_closes_on_itself(self) -> FunctionSpec:
        if self.kind == "step":
            ins = [(t.dtype, t.shape) for t in self.inputs if t.role is Role.STATE]
            outs = [(t.dtype, t.shape) for t in self.outputs if t.role is Role.STATE]
            if not ins or ins != outs:
                raise ValueError("a step function's state outputs must match its state inputs")
            if not self.start or not self.readout:
                raise ValueError("a step function names its 'start' and 'readout' functions")
        return self


class Latent(_Frozen):
    """The prior that `generate` expects."""

    size: int = Field(gt=0, le=65536)
    prior: Literal["normal", "uniform"] = "normal"


class Labels(_Frozen):
    """The classes of a conditional model or a classifier."""

    names: tuple[str, ...] = Field(min_length=2)


class Calibration(_Frozen):
    """Scores of held-out normal data, for conformal p-values."""

    file: FileName
    sha256: Sha256
    n: int = Field(gt=0)
    data: str = Field(description="What was held out, in words.")


class ScoreMethod(_Frozen):
    """One way of scoring: an output of a map function, and its calibration."""

    method: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    function: str
    output: str
    heatmap: str | None = None
    calibration: Calibration | None = None


class Defaults(_Frozen):
    """What a request gets when it does not ask."""

    burn_in: int | None = Field(None, ge=0, description="Sweeps from a random start.")
    inpaint_steps: int | None = Field(None, ge=0)
    thinning: int | None = Field(
        None, ge=1, description="Sweeps after which a chain of the pool is handed out again."
    )
    truncation: float | None = Field(None, gt=0, le=1)


class Quality(_Frozen):
    """A figure with the protocol that makes it an honest one."""

    name: str
    value: float
    unit: str = ""
    interval: tuple[float, float] | None = None
    floor: float | None = Field(None, description="The same figure for held-out real data.")
    protocol: str
    command: str = ""


class FileEntry(_Frozen):
    """A companion file: card, preview, weights."""

    sha256: Sha256


class Manifest(_Frozen):
    """Everything a reader needs to know of a package before it runs any of its functions."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=NAME_PATTERN)
    version: int = Field(ge=1)
    family: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")
    description: str = ""
    data: ImageData | TableData = Field(discriminator="kind")
    latent: Latent | None = None
    labels: Labels | None = None
    functions: dict[str, FunctionSpec] = Field(min_length=1)
    scores: tuple[ScoreMethod, ...] = ()
    defaults: Defaults = Defaults()
    quality: tuple[Quality, ...] = ()
    provenance: dict[str, Any] = Field(default_factory=dict)
    files: dict[FileName, FileEntry] = Field(default_factory=dict)
    reference: Reference | None = None

    @model_validator(mode="after")
    def _names_agree(self) -> Manifest:
        for name, function in self.functions.items():
            for companion in (function.start, function.readout):
                if companion is not None and companion not in self.functions:
                    raise ValueError(f"function {name!r} names {companion!r}, which is not there")
        for score in self.scores:
            owner = self.functions.get(score.function)
            outputs = {t.name for t in owner.outputs} if owner else set()
            if not {score.output, score.heatmap or score.output} <= outputs:
                raise ValueError(f"score method {score.method!r} names an output that is not there")
        generate = self.functions.get("generate")
        if generate is not None and generate.input(Role.LATENT) is not None and self.latent is None:
            raise ValueError("'generate' takes a latent, but the manifest has no 'latent' prior")
        return self

    @property
    def id(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"

    @property
    def digest(self) -> str:
        """sha256 over what decides an answer: functions, data, latent, labels, scores, defaults.

        Words, pictures and the reference (card, quality, provenance) may be mended without changing
        it.
        """
        decisive = self.model_dump(
            mode="json",
            include={"data", "latent", "labels", "functions", "scores", "defaults"},
            exclude_none=True,
        )
        canonical = json.dumps(decisive, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def energy_function(self) -> str | None:
        """The map function from a chain's state to one number, for diagnostics, if there is one."""
        for name, spec in self.functions.items():
            if spec.kind == "map" and spec.input(Role.STATE) and spec.output(Role.STATISTIC):
                return name
        return None

    @property
    def capabilities(self) -> tuple[str, ...]:
        """The operations that the functions which are there make possible."""
        has = self.functions.keys()
        able: list[str] = []
        generates, sweeps = "generate" in has, "sweep" in has
        if generates or sweeps:
            able.append("sample")
        has_path = (generates and self.latent is not None) or (sweeps and "decode" in has)
        if has_path and not isinstance(self.data, TableData):
            able.append("interpolate")
        clamped = [f for name, f in self.functions.items() if name in {"generate", "sweep"}]
        if "latent_step" in has or any(f.input(Role.CLAMP_MASK) for f in clamped):
            able.append("inpaint")
        if self.scores:
            able.append("score")
        if "encode" in has:
            able.append("encode")
        if "encode" in has and ("decode" in has or (generates and self._reads_what_it_is_told)):
            able.append("reconstruct")
        if "classify" in has:
            able.append("classify")
        return tuple(able)

    @property
    def _reads_what_it_is_told(self) -> bool:
        """Whether `encode` gives `generate` all that it takes: a label too, if it wants one."""
        wanted = self.functions["generate"].input(Role.LABEL)
        return wanted is None or self.functions["encode"].output(Role.LABEL) is not None

    def digests(self) -> dict[str, str]:
        """file name → sha256, of every file that the manifest names."""
        named = {f.file: f.sha256 for f in self.functions.values()}
        named |= {s.calibration.file: s.calibration.sha256 for s in self.scores if s.calibration}
        named |= {self.reference.file: self.reference.sha256} if self.reference else {}
        return named | {name: entry.sha256 for name, entry in self.files.items()}
