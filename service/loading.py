"""From a folder to functions that run: verify, open, check against the manifest, measure.

models_store/<name>/<version>/ ──digests──► the model's device ──► functions ──► LoadedPackage
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
from jaxtyping import Float

from service.contract import Manifest, PackageError, read_package, read_verified
from service.functions import LoadedFunction, Opener
from service.sessions.devices import choose_devices, place
from service.settings import Settings

__all__ = ["Calibrations", "LoadedFunction", "LoadedPackage", "open_model", "package_directories"]

log = structlog.get_logger(__name__)

Calibrations = dict[str, Float[np.ndarray, " held_out"]]


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
    opener = Opener(directory, settings, device=_device_of(directory, settings.device))
    functions = {name: opener.open(name, spec) for name, spec in manifest.functions.items()}
    sessions = [function.session for function in functions.values()]
    return LoadedPackage(
        manifest=manifest,
        directory=directory,
        device=_joined(session.device for session in sessions),
        runtime=_joined(session.runtime for session in sessions),
        functions=functions,
        calibrations=_read_calibrations(directory, manifest),
    )


def _device_of(directory: Path, asked: str) -> str:
    """Where a package of a store lives: models take turns over the devices, in order of name."""
    devices = choose_devices(asked)
    if len(devices) == 1:
        return devices[0]
    name = directory.parent.name
    names = {folder.parent.name for folder in package_directories(directory.parent.parent)}
    return place(name, sorted(names | {name}), devices)


def _joined(words: Iterable[str]) -> str:
    return " + ".join(dict.fromkeys(words))


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
