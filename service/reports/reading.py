"""Where rows come from: a file, a folder of files, an image folder, or an earlier order.

path ──parts──► counts ──chosen(seed)──► places in each part ──► Images | Table

Only rows that are taken stay in memory; files are read one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from service.errors import InvalidInput
from service.reports import archives, frames
from service.reports.rows import Column, Images, Rows, Table, chosen

BOOKKEEPING = ("seed", "row", "chunk", "model_digest", "is_synthetic", "label_name")
ORDER_FILES = ("order.json", "manifest.json")
Advance = Callable[[], None]


@dataclass(frozen=True)
class Part:
    """One file: its name, for its suffix and for errors, and how its content is had."""

    name: str
    content: Callable[[], frames.Source]
    rows: int | None = None

    @property
    def suffix(self) -> str:
        """What the file is."""
        return Path(self.name).suffix.lower()


@dataclass(frozen=True)
class Taken:
    """Rows that were taken, and how many there are in all."""

    rows: Rows
    total: int


def read_path(
    path: Path, *, limit: int, seed: int, label: str = "label", advance: Advance = lambda: None
) -> Taken:
    """Rows of a data set, at most `limit`, chosen by the seed.

    Raises:
        InvalidInput: there is nothing there, or nothing that can be understood.
    """
    if not path.exists():
        raise InvalidInput(f"{path} is not there: give a file, a folder, or an order's folder")
    files = _files(path)
    if files:
        return read_parts(files, limit=limit, seed=seed, label=label, advance=advance)
    album = archives.folder(path)
    if not album.names:
        raise InvalidInput(
            f"{path} has no data: give Parquet, Arrow, CSV, npz, zip or tar files, or pictures"
        )
    return Taken(album.take(chosen(len(album.names), limit, seed=seed)), len(album.names))


def read_parts(
    parts: Sequence[Part],
    *,
    limit: int,
    seed: int,
    label: str = "label",
    advance: Advance = lambda: None,
) -> Taken:
    """Rows of several files of one kind.

    Raises:
        InvalidInput: a file is not what its name says, or they do not go together.
    """
    counts = [_count(part) for part in parts]
    total = sum(counts)
    if not total:
        raise InvalidInput("there are no rows in these files: give files that have some")
    wanted = chosen(total, limit, seed=seed)
    found, begin = [], 0
    for part, rows in zip(parts, counts, strict=True):
        low, high = np.searchsorted(wanted, (begin, begin + rows))
        if low < high:
            found.append(_read(part, wanted[low:high] - begin, label=label))
        begin += rows
        advance()
    return Taken(joined(found), total)


def joined(parts: Sequence[Rows]) -> Rows:
    """Parts one after the other.

    Raises:
        InvalidInput: they are of several kinds, shapes or columns.
    """
    if all(isinstance(part, Images) for part in parts):
        return _joined_images([part for part in parts if isinstance(part, Images)])
    if all(isinstance(part, Table) for part in parts):
        return _joined_tables([part for part in parts if isinstance(part, Table)])
    raise InvalidInput("some files hold images and some tables: give files of one kind")


def _joined_images(parts: Sequence[Images]) -> Images:
    shapes = sorted({part.shape for part in parts})
    if len(shapes) > 1:
        raise InvalidInput(f"images of {list(shapes[0])} and of {list(shapes[1])} lie together")
    labels = [part.labels for part in parts if part.labels is not None]
    return Images(
        np.concatenate([part.pixels for part in parts]),
        np.concatenate(labels) if len(labels) == len(parts) else None,
    )


def _joined_tables(parts: Sequence[Table]) -> Table:
    names = list(parts[0].columns)
    if any(list(part.columns) != names for part in parts):
        raise InvalidInput("the files have different columns: give files of one table")
    return Table(
        {n: Column(np.concatenate([part.columns[n].values for part in parts])) for n in names}
    )


def _files(path: Path) -> list[Part]:
    """The files of rows at a path; none for a folder of pictures."""
    if path.is_file():
        if path.suffix.lower() not in frames.SUFFIXES + archives.SUFFIXES:
            known = ", ".join(frames.SUFFIXES + archives.SUFFIXES)
            raise InvalidInput(f"{path.name} is none of {known}, nor a folder")
        return [_part(path)]
    within = path / "data" if any((path / n).is_file() for n in ORDER_FILES) else path
    known_suffixes = frames.SUFFIXES + archives.SUFFIXES
    found = sorted(p for p in within.glob("*") if p.suffix.lower() in known_suffixes)
    return [_part(p) for p in found]


def _part(path: Path) -> Part:
    return Part(path.name, lambda: path)


def _count(part: Part) -> int:
    if part.rows is not None:
        return part.rows
    with _understood(part):
        if part.suffix in frames.SUFFIXES:
            return frames.count(part.content(), part.suffix)
        return archives.count(part.content(), part.suffix)


def _read(part: Part, wanted: Int64[np.ndarray, " rows"], *, label: str) -> Rows:
    with _understood(part):
        if part.suffix in frames.SUFFIXES:
            return frames.read(part.content(), part.suffix, wanted, label=label)
        return archives.read(part.content(), part.suffix, wanted)


@contextmanager
def _understood(part: Part) -> Iterator[None]:
    """Errors of readers, told as errors of the file."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(f"{part.name}: {error.detail}") from error
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInput(f"{part.name} cannot be read as {part.suffix}") from error
