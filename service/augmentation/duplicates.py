"""Rows that repeat: hashes of what they show, and which rows of an order came before.

images ──8-bit pixels──► 128-bit hashes ──256 partitions on disk──► {chunk: hashes to ban}
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.domain.images import to_pixels
from service.queries import Cells, Images

HASH_BYTES = 16
PARTITIONS = 256
MAX_REPEATS = 1_000_000  # more than this in one pass, and the model has too few images
Hash = bytes

_ENTRY = np.dtype([("hash", "V16"), ("chunk", "<u4"), ("row", "<u4")])


class TooManyRepeats(Exception):
    """The model gives fewer different images than were ordered."""


def hashes_of(images: Images | Cells) -> list[Hash]:
    """BLAKE2b-128 of each image's 8-bit pixels: two that look the same are the same.

    Of a table's rows, which have one axis, of all their cells.
    """
    compared = images if images.ndim == 2 else to_pixels(images)
    rows = np.ascontiguousarray(compared)
    return [hashlib.blake2b(row.data, digest_size=HASH_BYTES).digest() for row in rows]


def repeats(chunks: Iterable[tuple[int, bytes]]) -> dict[int, list[Hash]]:
    """For each chunk, the hashes of its rows that an earlier row of the order has already.

    `chunks` gives (index, hashes of its rows end to end). Memory grows with the largest of 256
    partitions, not with the order.

    Raises:
        TooManyRepeats: more than a million.
    """
    found: dict[int, list[Hash]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="reverie-") as folder:
        paths = [Path(folder) / str(k) for k in range(PARTITIONS)]
        _partition(chunks, paths)
        for path in paths:
            for entry in _later_copies(np.fromfile(path, _ENTRY)):
                found[int(entry["chunk"])].append(entry["hash"].tobytes())
            if sum(map(len, found.values())) > MAX_REPEATS:
                raise TooManyRepeats
    return {chunk: sorted(hashes) for chunk, hashes in sorted(found.items())}


def _partition(chunks: Iterable[tuple[int, bytes]], paths: list[Path]) -> None:
    """Spread the hashes over the files by their first byte."""
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("wb")) for path in paths]
        for chunk, content in chunks:
            hashes = np.frombuffer(content, "V16")
            entries = np.empty(len(hashes), _ENTRY)
            entries["hash"], entries["chunk"] = hashes, chunk
            entries["row"] = np.arange(len(hashes))
            first = np.frombuffer(content, np.uint8)[::HASH_BYTES]
            order = np.argsort(first, kind="stable")
            bounds = np.searchsorted(first[order], np.arange(PARTITIONS + 1))
            for k in np.flatnonzero(np.diff(bounds)):
                files[k].write(entries[order[bounds[k] : bounds[k + 1]]].tobytes())


def _later_copies(entries: NDArray[np.void]) -> NDArray[np.void]:
    """All entries of a partition but the first of each hash, by chunk and row."""
    if len(entries) < 2:
        return entries[:0]
    words = np.ascontiguousarray(entries["hash"]).view("<u8").reshape(-1, 2)
    rank = np.lexsort((entries["row"], entries["chunk"], words[:, 0], words[:, 1]))
    ordered = words[rank]
    same = (ordered[1:] == ordered[:-1]).all(axis=1)
    later: NDArray[np.void] = entries[rank[1:][same]]
    return later
