"""What reports find of real rows alone, kept for the next report beside the same reference.

reference, judge, versions ──key──► a file of arrays ──recall(name)──► there: as it was | made now

Half of a report's time goes into figures of the hold-out, which no synthetic row changes. They are
functions of the reference, the judge and the libraries, so a report is the same bytes either way.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service import __version__

FORMAT = 1  # of the file, and of what is in it: a report that computes another thing has another
MOST_FILES = 64  # in a folder; the oldest go
_LIBRARIES = ("numpy", "scikit-learn", "onnxruntime", "onnxruntime-gpu")

Arrays = dict[str, NDArray[Any]]


class Recall(Protocol):
    """Gives arrays by name: those that are remembered, or what `make` gives."""

    def __call__(self, name: str, make: Callable[[], Arrays]) -> Arrays:
        """The arrays of this name."""
        ...


def afresh(name: str, make: Callable[[], Arrays]) -> Arrays:  # noqa: ARG001
    """Remember nothing."""
    return make()


def within(recall: Recall, *circumstances: object) -> Recall:
    """The same memory, apart for what also depends on these; their `repr` tells them apart."""
    mark = hashlib.sha256(repr(circumstances).encode()).hexdigest()[:16]
    return lambda name, make: recall(f"{mark}.{name}", make)


class Remembered:
    """A `Recall` of one file. Damaged or missing, it is made again."""

    def __init__(self, folder: Path, **source: str | None) -> None:
        """`source` says by what the arrays are decided, such as digests of the data."""
        told = json.dumps([FORMAT, _versions(), sorted(source.items())])
        self.file = folder / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.npz"
        self._kept = _read(self.file)
        self._new = False

    def __call__(self, name: str, make: Callable[[], Arrays]) -> Arrays:
        """See `Recall`."""
        prefix = f"{name}/"
        found = {k.removeprefix(prefix): a for k, a in self._kept.items() if k.startswith(prefix)}
        if not found:
            found = make()
            self._kept |= {f"{prefix}{key}": array for key, array in found.items()}
            self._new = True
        return found

    def keep(self) -> None:
        """Write what is new. A folder that cannot be written is no reason to complain."""
        if not self._new:
            return
        temporary = self.file.with_name(f".{self.file.name}.{secrets.token_hex(4)}")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                np.savez(file, allow_pickle=False, **self._kept)
            temporary.replace(self.file)
            _forget_oldest(self.file.parent)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _read(file: Path) -> Arrays:
    try:
        with file.open("rb") as content, np.load(content, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return {}


def _forget_oldest(folder: Path) -> None:
    files = sorted(folder.glob("*.npz"), key=lambda file: file.stat().st_mtime)
    for file in files[:-MOST_FILES]:
        file.unlink(missing_ok=True)


def _versions() -> Mapping[str, str]:
    found = {"reverie": __version__}
    for library in _LIBRARIES:
        with suppress(PackageNotFoundError):
            found[library] = version(library)
    return found
