"""Packages from the training side: publish one, open one, run its functions.

Function (graph bytes, tensors), Score (calibration) ──► publish ──► models_store/<name>/<version>/
models_store/<name>/<version>/ ──► Package ──► run("score", x=…) ──► {name: array}
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from jaxtyping import Float

from service import contract
from service.contract import (
    Calibration,
    Defaults,
    FileEntry,
    FunctionSpec,
    ImageData,
    Labels,
    Latent,
    Manifest,
    PackageError,
    Quality,
    ScoreMethod,
    TableData,
    TensorSpec,
    sha256_of,
)


@dataclass(frozen=True)
class Function:
    """One function of a package, with its graph.

    Attributes:
        graph: the serialised ONNX model. Functions with equal bytes share one file.
        inputs, outputs: every tensor of the graph, with its role.
        kind: `map` runs once a row, `step` is iterated.
        start, readout: step functions: names of their companions.
        exact: the same bytes for every batch size, thread count and device.
    """

    graph: bytes = field(repr=False)
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    kind: Literal["map", "step"] = "map"
    start: str | None = None
    readout: str | None = None
    exact: bool = False


@dataclass(frozen=True)
class Score:
    """One way of scoring: an output of a map function, calibrated with held-out normal data.

    Attributes:
        method: its name, such as `free_energy`.
        function, output, heatmap: where the numbers come from; `heatmap` may be None.
        calibration: scores of held-out data, float [n].
        held_out: what was held out, in words.
    """

    method: str
    function: str
    output: str
    heatmap: str | None
    calibration: Float[np.ndarray, " n"] = field(repr=False)
    held_out: str


def publish(
    store: Path,
    *,
    name: str,
    version: int,
    family: str,
    description: str,
    data: ImageData | TableData,
    functions: Mapping[str, Function],
    defaults: Defaults,
    quality: Sequence[Quality],
    provenance: Mapping[str, Any],
    card: str,
    preview: bytes,
    latent: Latent | None = None,
    labels: Labels | None = None,
    scores: Sequence[Score] = (),
    weights: bytes | None = None,
    companions: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a package under `store`, whole or not at all, and return its folder.

    `card` is Markdown, `preview` a PNG, `weights` a safetensors file; `companions` maps file names
    to the bytes of further files, such as pictures of the card.

    Raises:
        PackageError: a calibration is empty or not finite, or the parts contradict each other.
    """
    contents = {contract.CARD_FILE: card.encode(), contract.PREVIEW_FILE: preview}
    contents |= {contract.WEIGHTS_FILE: weights} if weights is not None else {}
    contents |= dict(companions or {})
    files = {file: FileEntry(sha256=sha256_of(content)) for file, content in contents.items()}
    specs = {key: _spec(key, function, contents) for key, function in functions.items()}
    manifest = Manifest(
        name=name,
        version=version,
        family=family,
        description=description,
        data=data,
        latent=latent,
        labels=labels,
        functions=specs,
        scores=tuple(_method(score, contents) for score in scores),
        defaults=defaults,
        quality=tuple(quality),
        provenance=dict(provenance),
        files=files,
    )
    return contract.write_package(store, manifest, contents)


class Package:
    """An opened package: its manifest, and its functions ready to run on the CPU."""

    def __init__(self, directory: Path, *, threads: int = 1) -> None:
        """Check every digest, then open the graphs as they are asked for.

        Raises:
            PackageError: the package is damaged or not there.
        """
        self.directory = directory
        self.manifest = contract.read_package(directory)
        self._options = ort.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.inter_op_num_threads = 1
        self._sessions: dict[str, ort.InferenceSession] = {}

    def read(self, name: str) -> bytes:
        """The bytes of one file of the package, checked against the manifest."""
        digests = self.manifest.digests()
        if name not in digests:
            raise PackageError(f"{self.manifest.id} has no file {name!r}")
        return contract.read_verified(self.directory, name, digests[name])

    def run(self, function: str, **tensors: np.ndarray[Any, Any]) -> dict[str, Any]:
        """Run a function on tensors by name: output name → array.

        Raises:
            PackageError: no such function, or the tensors are not the ones that it wants.
        """
        spec = self.manifest.functions.get(function)
        if spec is None:
            able = ", ".join(self.manifest.functions)
            raise PackageError(f"{self.manifest.id} has no function {function!r}; it has {able}")
        wanted = {t.name for t in spec.inputs}
        if set(tensors) != wanted:
            raise PackageError(f"{function} wants {sorted(wanted)}, not {sorted(tensors)}")
        names = [t.name for t in spec.outputs]
        answers = self._session(spec.file).run(names, tensors)
        return dict(zip(names, answers, strict=True))

    def calibration(self, method: str) -> Float[np.ndarray, " n"]:
        """The sorted calibration scores of a score method."""
        score = next((s for s in self.manifest.scores if s.method == method), None)
        if score is None or score.calibration is None:
            raise PackageError(f"{self.manifest.id} has no calibration for {method!r}")
        file = io.BytesIO(self.read(score.calibration.file))
        found: Float[np.ndarray, " n"] = np.load(file, allow_pickle=False)
        return found

    def _session(self, file: str) -> ort.InferenceSession:
        if file not in self._sessions:
            self._sessions[file] = ort.InferenceSession(
                self.read(file), self._options, providers=["CPUExecutionProvider"]
            )
        return self._sessions[file]


def _spec(name: str, function: Function, contents: dict[str, bytes]) -> FunctionSpec:
    """The function's manifest entry; its graph joins `contents`, unless it is there already."""
    same = (f for f, content in contents.items() if f.endswith(".onnx"))
    file = next((f for f in same if contents[f] == function.graph), f"{name}.onnx")
    contents[file] = function.graph
    return FunctionSpec(
        kind=function.kind,
        file=file,
        sha256=sha256_of(function.graph),
        inputs=function.inputs,
        outputs=function.outputs,
        start=function.start,
        readout=function.readout,
        exact=function.exact,
    )


def _method(score: Score, contents: dict[str, bytes]) -> ScoreMethod:
    """The score's manifest entry; its sorted calibration joins `contents` as .npy."""
    values = np.sort(np.asarray(score.calibration, np.float32).ravel())
    if not values.size or not np.isfinite(values).all():
        raise PackageError(f"the calibration of {score.method!r} is empty or not finite")
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    file = f"calibration-{score.method}.npy"
    contents[file] = buffer.getvalue()
    return ScoreMethod(
        method=score.method,
        function=score.function,
        output=score.output,
        heatmap=score.heatmap,
        calibration=Calibration(
            file=file, sha256=sha256_of(contents[file]), n=values.size, data=score.held_out
        ),
    )
