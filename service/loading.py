"""From a folder to functions that run: verify, open, check against the manifest, measure.

models_store/<name>/<version>/ ──digests──► sessions ──signatures──► padding ──► LoadedPackage
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
from jaxtyping import Float

from service.contract import (
    FunctionSpec,
    Manifest,
    PackageError,
    Role,
    TensorSpec,
    read_package,
    read_verified,
)
from service.domain.arrays import Arrays
from service.invariance import Padding, measure_padding
from service.sessions import Session, TensorType
from service.sessions.onnx import OnnxSession, choose_device
from service.settings import Settings

log = structlog.get_logger(__name__)

Calibrations = dict[str, Float[np.ndarray, " held_out"]]


@dataclass(frozen=True)
class LoadedFunction:
    """A function that has been checked against its graph, and the batch sizes it is run at."""

    spec: FunctionSpec
    session: Session
    padding: Padding

    @property
    def seeded(self) -> bool:
        """Whether seeded answers go through it: it is fed draws, states or features, not only x."""
        return any(t.role not in {Role.DATA, Role.MASK} for t in self.spec.inputs)

    def run(self, inputs: Arrays) -> Arrays:
        """All outputs that the manifest names."""
        return self.session.run(tuple(t.name for t in self.spec.outputs), inputs)


@dataclass(frozen=True)
class LoadedPackage:
    """A verified package with its functions open."""

    manifest: Manifest
    directory: Path
    device: str
    runtime: str
    functions: dict[str, LoadedFunction]
    calibrations: Calibrations

    @property
    def seed_promise(self) -> str:
        """What is promised of seeds on this device, in a sentence."""
        loose = [n for n, f in self.functions.items() if f.seeded and not f.padding.holds]
        if loose:
            return (
                f"On {self.device} with {self.runtime}, rows of {', '.join(loose)} vary in their "
                "last bits with their batch: a seed repeats a sample closely, not exactly."
            )
        kept = (
            "Row i of a seeded answer is the same bytes alone, in any batch and after a restart, "
            f"on {self.device} with {self.runtime}"
        )
        chain = self.functions.get("sweep")
        if chain is not None and chain.spec.exact:
            return kept + "; its Markov chains are integer arithmetic, the same on every device."
        return kept + ": batch sizes were compared when the model was loaded."


def package_directories(store: Path) -> list[Path]:
    """<name>/<version>/ folders under `store` that hold a manifest, by name and version.

    A folder that cannot be read is told of in the log, since it looks like one that is not there.
    """
    for folder in store.iterdir() if store.is_dir() else ():
        if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
            log.warning("unreadable_model_folder", model=folder.name)
    found = [
        manifest.parent
        for manifest in store.glob("*/*/manifest.json")
        if manifest.parent.name.isdecimal() and not manifest.parent.parent.name.startswith(".")
    ]
    return sorted(found, key=lambda d: (d.parent.name, int(d.name)))


def open_model(directory: Path, settings: Settings) -> LoadedPackage:
    """Verify a package, open its graphs, check them against the manifest, and warm them.

    Raises:
        PackageError: with the reason, for a person to read.
    """
    manifest = read_package(directory)
    device = choose_device(settings.device)
    sessions: dict[str, Session] = {}
    functions: dict[str, LoadedFunction] = {}
    for name, spec in manifest.functions.items():
        if spec.sha256 not in sessions:
            content = read_verified(directory, spec.file, spec.sha256)
            sessions[spec.sha256] = OnnxSession(
                content, device=device, threads=settings.threads_per_model
            )
        session = sessions[spec.sha256]
        check_signature(name, spec, session)
        outputs = tuple(t.name for t in spec.outputs)
        padding = measure_padding(
            lambda inputs, s=session, o=outputs: s.run(o, inputs),  # type: ignore[misc]
            spec,
            max_rows=settings.batch_rows,
        )
        functions[name] = LoadedFunction(spec=spec, session=session, padding=padding)
    first = next(iter(sessions.values()))
    return LoadedPackage(
        manifest=manifest,
        directory=directory,
        device=first.device,
        runtime=first.runtime,
        functions=functions,
        calibrations=_read_calibrations(directory, manifest),
    )


def check_signature(name: str, spec: FunctionSpec, session: Session) -> None:
    """Refuse a graph whose inputs or outputs are not those of the manifest.

    Raises:
        PackageError: names the function, the tensor and the difference.
    """
    inputs, outputs = session.signature()
    undeclared = inputs.keys() - {t.name for t in spec.inputs}
    if undeclared:
        raise PackageError(f"{name}: the graph also wants {', '.join(sorted(undeclared))}")
    for tensors, found in ((spec.inputs, inputs), (spec.outputs, outputs)):
        for tensor in tensors:
            if tensor.name not in found:
                raise PackageError(f"{name}: the graph has no {tensor.name!r}")
            _check_tensor(name, tensor, found[tensor.name])


def _check_tensor(function: str, tensor: TensorSpec, found: TensorType) -> None:
    dtype, shape = found
    where = f"{function}: {tensor.name!r}"
    if dtype != tensor.dtype:
        raise PackageError(f"{where} is {dtype} in the graph, {tensor.dtype} in the manifest")
    if len(shape) != len(tensor.shape):
        raise PackageError(f"{where} has {len(shape)} axes in the graph, not {len(tensor.shape)}")
    if isinstance(shape[0], int):
        raise PackageError(f"{where} has a fixed batch of {shape[0]}: export a dynamic first axis")
    for declared, size in zip(tensor.shape[1:], shape[1:], strict=True):
        if isinstance(size, int) and size != declared:
            raise PackageError(f"{where} is {list(shape)} in the graph, not {list(tensor.shape)}")


def _read_calibrations(directory: Path, manifest: Manifest) -> Calibrations:
    found: Calibrations = {}
    for score in manifest.scores:
        if score.calibration is None:
            continue
        entry = score.calibration
        content = read_verified(directory, entry.file, entry.sha256)
        try:
            scores = np.load(io.BytesIO(content), allow_pickle=False)
        except ValueError as error:
            raise PackageError(f"{entry.file} is not a plain .npy array") from error
        rising = scores.ndim == 1 and len(scores) == entry.n and bool((np.diff(scores) >= 0).all())
        if not rising:
            raise PackageError(f"{entry.file} must hold {entry.n} scores in rising order")
        found[score.method] = scores
    return found
