"""The real images that a model's package carries, as the parts of a report.

package ──digest──► reference.npz ──► Real: training, hold-out and test images
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np

from service.contract import Manifest, PackageError, read_verified
from service.reports.frames import shaped
from service.reports.rows import Images, Real


def read_reference(directory: Path, manifest: Manifest) -> Real[Images] | None:
    """The reference of a package; None if it has none.

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
    pixels = shaped(arrays[f"{part}_images"])
    key = f"{part}_labels"
    labels = np.array(arrays[key].tolist(), object) if key in arrays.files else None
    return Images(pixels, labels)
