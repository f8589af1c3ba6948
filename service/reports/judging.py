"""What images are compared by: a judge's features and classes, or plain components of pixels.

pixels ──► a package with `encode` and `classify` ──► features, classes
pixels ──► principal components of the training rows ──► features, where there is no judge
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float

from service.contract import FunctionSpec, ImageData, Manifest, Role
from service.domain.arrays import Arrays
from service.errors import InvalidInput
from service.functions import LoadedFunction, Opener
from service.reports.rows import Images, Labels
from service.settings import Settings

BATCH = 250
COMPONENTS = 64

Features = Float[np.ndarray, "rows features"]


@dataclass(frozen=True)
class Seen:
    """What a judge sees in images: features, and classes as text where it knows any."""

    features: Features
    classes: Labels | None


class Judge(Protocol):
    """Something that sees."""

    @property
    def title(self) -> str:
        """What it is, for a reader."""
        ...

    def look(self, images: Images) -> Seen:
        """Features and classes of images."""
        ...


class PackageJudge:
    """A classifier of the models store, run here on the CPU."""

    def __init__(
        self, manifest: Manifest, encode: LoadedFunction, classify: LoadedFunction
    ) -> None:
        self.manifest = manifest
        self._encode = encode
        self._classify = classify

    @property
    def title(self) -> str:
        """See `Judge`."""
        return f"{self.manifest.id}, {self.manifest.digest}"

    def look(self, images: Images) -> Seen:
        """See `Judge`."""
        data, labels = self.manifest.data, self.manifest.labels
        assert isinstance(data, ImageData)
        assert labels is not None
        low, high = data.range
        x = images.flat.reshape(-1, *data.shape) * np.float32(high - low) + np.float32(low)
        features = _run(self._encode, x, Role.HIDDEN)
        chances = _run(self._classify, x, Role.PROBABILITIES)
        return Seen(features, np.array(labels.names, object)[chances.argmax(1)])


class PixelJudge:
    """Principal components of the training rows' pixels; knows no classes."""

    def __init__(self, train: Images) -> None:
        flat = train.flat.astype(np.float64)
        self._mean = flat.mean(0)
        _, vectors = np.linalg.eigh(np.cov(flat, rowvar=False))
        self._axes = vectors[:, ::-1][:, :COMPONENTS]

    @property
    def title(self) -> str:
        """See `Judge`."""
        return f"no judge: {self._axes.shape[1]} principal components of the training rows' pixels"

    def look(self, images: Images) -> Seen:
        """See `Judge`."""
        features = (images.flat - self._mean) @ self._axes
        return Seen(features.astype(np.float32), None)


def can_judge(manifest: Manifest, shape: tuple[int, int, int]) -> bool:
    """Whether a package has what a judge of images of this shape needs."""
    return (
        isinstance(manifest.data, ImageData)
        and manifest.data.shape == shape
        and manifest.labels is not None
        and {"encode", "classify"} <= manifest.functions.keys()
    )


def open_judge(directory: Path, manifest: Manifest) -> PackageJudge:
    """A judge from its verified package.

    Raises:
        InvalidInput: the package is no judge.
        PackageError: a graph is not what its manifest says.
    """
    data = manifest.data
    if not isinstance(data, ImageData) or not can_judge(manifest, data.shape):
        raise InvalidInput(
            f"{manifest.id} is no judge of images: a judge has labels, `encode` and `classify`"
        )
    settings = Settings(_env_file=None, device="cpu", batch_rows=BATCH)
    opener = Opener(directory, settings, device="cpu")
    encode, classify = (opener.open(n, manifest.functions[n]) for n in ("encode", "classify"))
    return PackageJudge(manifest, encode, classify)


def _run(function: LoadedFunction, x: Float[np.ndarray, "n C H W"], role: Role) -> Features:
    """One output of a map function of images, a row an image."""
    taken, given = _tensor(function.spec, Role.DATA), function.spec.output(role)
    if given is None:
        raise InvalidInput(f"the judge's graph gives no {role.value}")
    parts: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = []
    for i in range(0, len(x), BATCH):
        inputs: Arrays = {taken: x[i : i + BATCH]}
        parts.append(function.run(inputs)[given.name].reshape(len(inputs[taken]), -1))
    return np.concatenate(parts)


def _tensor(spec: FunctionSpec, role: Role) -> str:
    found = spec.input(role)
    if found is None or len(spec.inputs) != 1:
        raise InvalidInput("the judge's graph takes something else than images")
    return found.name
