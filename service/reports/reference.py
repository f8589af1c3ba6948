"""The real rows that a model's package carries, as the parts of a report.

package ──digest──► reference.npz | reference.parquet ──► Real: training, hold-out and test rows
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np

from service.contract import Manifest, PackageError, Reference, read_verified
from service.errors import InvalidInput
from service.reports import frames
from service.reports.rows import Images, Real, Table

R = TypeVar("R", Images, Table)


def read_reference(directory: Path, manifest: Manifest) -> Real[Images] | None:
    """The reference images of a package; None if it has no reference.

    Raises:
        PackageError: the file is damaged, or is not what the manifest says.
    """
    told = manifest.reference
    if told is None:
        return None
    content = read_verified(directory, told.file, told.sha256)
    try:
        with np.load(BytesIO(content), allow_pickle=False) as arrays:
            train, held_out, test = (_part(arrays, part) for part in ("train", "held_out", "test"))
    except (ValueError, KeyError) as error:
        raise PackageError(f"{told.file} is not a reference: export it again") from error
    return _real(train, held_out, test, told)


def read_table_reference(directory: Path, manifest: Manifest) -> Real[Table] | None:
    """The reference rows of a package of a table; None if it has no reference.

    Raises:
        PackageError: the file is damaged, or is not what the manifest says.
    """
    told = manifest.reference
    if told is None:
        return None
    content = read_verified(directory, told.file, told.sha256)
    ends = np.cumsum((told.train, told.held_out, told.test))
    try:
        rows = frames.read(content, Path(told.file).suffix, np.arange(ends[-1]), label="label")
    except (ValueError, OSError, InvalidInput) as error:
        raise PackageError(f"{told.file} is not a reference: export it again") from error
    if not isinstance(rows, Table):
        raise PackageError(f"{told.file} is not a reference of a table: export it again")
    train, held_out, test = (
        rows.take(slice(int(end) - count, int(end)))
        for end, count in zip(ends, (told.train, told.held_out, told.test), strict=True)
    )
    return _real(train, held_out, test, told)


def _real(train: R, held_out: R, test: R, told: Reference) -> Real[R]:
    if (len(train), len(held_out), len(test)) != (told.train, told.held_out, told.test):
        raise PackageError(f"{told.file} has other numbers of rows than manifest.json says")
    return Real(
        train=train,
        held_out=held_out,
        test=test,
        copied_from=train,
        population=told.population,
        seen=True,
        source=told.data,
    )


def _part(arrays: np.lib.npyio.NpzFile, part: str) -> Images:
    pixels = frames.shaped(arrays[f"{part}_images"])
    key = f"{part}_labels"
    labels = np.array(arrays[key].tolist(), object) if key in arrays.files else None
    return Images(pixels, labels)
