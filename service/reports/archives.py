"""Images out of npz files, zips, tar shards and image folders; only those that are wanted.

names ──► places that are wanted ──► decoded ──► Images
"""

from __future__ import annotations

import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, Self

import numpy as np
from jaxtyping import Int64

from service.errors import InvalidInput
from service.reports.frames import Source, decoded, shaped, stacked
from service.reports.rows import Images

SUFFIXES = (".npz", ".zip", ".tar")
PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
METADATA = "metadata.jsonl"


@dataclass(frozen=True)
class Album:
    """Named pictures, opened one by one, with the classes of those that have one."""

    names: Sequence[str]
    open: Callable[[str], bytes]
    labels: Mapping[str, str]

    def take(self, wanted: Int64[np.ndarray, " rows"]) -> Images:
        """The pictures at these places.

        Raises:
            InvalidInput: one cannot be read, or they are of several sizes.
        """
        names = [self.names[i] for i in wanted]
        pixels = stacked([decoded(self.open(name)) for name in names])
        if not all(name in self.labels for name in names):
            return Images(pixels)
        return Images(pixels, np.array([self.labels[name] for name in names], object))


def count(source: Source, suffix: str) -> int:
    """How many images an archive has."""
    if suffix == ".npz":
        with np.load(_stream(source), allow_pickle=False) as arrays:
            return len(arrays[_images_of(arrays.files)])
    with _opened(source, suffix) as archive:
        return len(_album(archive).names)


def read(source: Source, suffix: str, wanted: Int64[np.ndarray, " rows"]) -> Images:
    """The images at these places.

    Raises:
        InvalidInput: it has no images, or none that can be read.
    """
    if suffix == ".npz":
        return _npz(source, wanted)
    with _opened(source, suffix) as archive:
        return _album(archive).take(wanted)


def folder(path: Path) -> Album:
    """An image folder: with metadata.jsonl files, or with a folder for each class."""
    names = sorted(
        str(PurePosixPath(p.relative_to(path)))
        for p in path.rglob("*")
        if p.suffix.lower() in PICTURES
    )
    labels: dict[str, str] = {}
    described = sorted(path.rglob(METADATA))
    for file in described:
        within = PurePosixPath(file.parent.relative_to(path))
        labels |= _described(file.read_bytes(), within)
    if not described:
        labels = {n: PurePosixPath(n).parts[0] for n in names if len(PurePosixPath(n).parts) > 1}
    return Album(names, lambda name: (path / name).read_bytes(), labels)


def _npz(source: Source, wanted: Int64[np.ndarray, " rows"]) -> Images:
    with np.load(_stream(source), allow_pickle=False) as arrays:
        pixels = shaped(arrays[_images_of(arrays.files)][wanted])
        key = next((k for k in ("label", "labels") if k in arrays.files), None)
        if key is None:
            return Images(pixels)
        labels = arrays[key][wanted]
        if "label_names" in arrays.files:
            labels = arrays["label_names"][labels]
    return Images(pixels, np.array([str(v) for v in labels.tolist()], object))


def _images_of(names: Sequence[str]) -> str:
    if "images" not in names:
        raise InvalidInput(
            f"an npz file has 'images'; this one has {', '.join(names) or 'nothing'}"
        )
    return "images"


@dataclass(frozen=True)
class _Members:
    """The files of an archive, by name."""

    names: Sequence[str]
    read: Callable[[str], bytes]
    close: Callable[[], Any]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _opened(source: Source, suffix: str) -> _Members:
    try:
        if suffix == ".zip":
            zipped = zipfile.ZipFile(_stream(source))
            return _Members(zipped.namelist(), zipped.read, zipped.close)
        path, stream = (None, _stream(source)) if isinstance(source, bytes) else (source, None)
        tar = tarfile.open(path, fileobj=stream)  # noqa: SIM115  closed with its members
    except (OSError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise InvalidInput(f"a {suffix} file cannot be read: it is damaged") from error

    def content(name: str) -> bytes:
        member = tar.extractfile(name)
        return b"" if member is None else member.read()

    return _Members(tar.getnames(), content, tar.close)


def _album(archive: _Members) -> Album:
    """The pictures of an archive: labelled by metadata.jsonl, KEY.json, KEY.cls or by folders."""
    names = [n for n in archive.names if PurePosixPath(n).suffix.lower() in PICTURES]
    there = set(archive.names)
    labels: dict[str, str] = {}
    for name in archive.names:
        if PurePosixPath(name).name == METADATA:
            labels |= _described(archive.read(name), PurePosixPath(name).parent)
    if not labels:
        for name in names:
            label = _beside(archive, PurePosixPath(name), there)
            if label is not None:
                labels[name] = label
    return Album(names, archive.read, labels)


def _beside(archive: _Members, name: PurePosixPath, there: set[str]) -> str | None:
    """A WebDataset's class: of KEY.json by name, else KEY.cls."""
    about = str(name.with_suffix(".json"))
    if about in there:
        return _label(json.loads(archive.read(about)))
    plain = str(name.with_suffix(".cls"))
    if plain in there:
        return archive.read(plain).decode().strip()
    return None


def _described(content: bytes, within: PurePosixPath) -> dict[str, str]:
    """Classes by file name, of a metadata.jsonl."""
    found = {}
    try:
        for line in content.decode().splitlines():
            about = json.loads(line) if line.strip() else {}
            label = _label(about)
            if label is not None:
                found[str(within / about["file_name"])] = label
    except (ValueError, LookupError, TypeError) as error:
        raise InvalidInput(f"{METADATA} has a line that cannot be understood") from error
    return found


def _label(about: Mapping[str, Any]) -> str | None:
    label = about.get("label_name", about.get("label"))
    return None if label is None else str(label)


def _stream(source: Source) -> Any:  # noqa: ANN401  (a path or a stream)
    return BytesIO(source) if isinstance(source, bytes) else source
