"""Chunks as archives: npz, WebDataset's tar shards, and zipped image folders.

ChunkRows ──members──► stored as they are, under fixed dates and owners
"""

from __future__ import annotations

import io
import json
import tarfile
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.augmentation.chunks import ChunkRows
from service.augmentation.formats import SOURCE_TYPE
from service.augmentation.formats.marks import marked_png
from service.augmentation.order import Order
from service.domain.images import to_pixels

_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the first that zip can write
_BREATHE_EVERY = 8  # pictures; between them other threads may have the interpreter


def npz(order: Order, rows: ChunkRows) -> bytes:
    """Arrays by name, a row each: images, label, seed, row, chunk, model_digest, is_synthetic."""
    n = len(rows)
    arrays: dict[str, NDArray[Any]] = {
        "images": rows.images if order.dtype == "float32" else _channels_first(rows),
        "seed": rows.seeds,
        "row": rows.rows,
        "chunk": np.full(n, rows.chunk, np.int64),
        "model_digest": np.full(n, order.digest.encode()),
        "is_synthetic": np.ones(n, np.bool_),
    }
    if rows.labels is not None:
        arrays |= {"label": rows.labels, "label_names": np.array(order.labels)}
    return _zip((f"{name}.npy", _npy(array)) for name, array in arrays.items())


def webdataset(order: Order, rows: ChunkRows) -> bytes:
    """A tar shard: KEY.png, KEY.json and, where there are labels, KEY.cls."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as shard:
        for i, (png, about) in enumerate(_pictures(order, rows)):
            key = f"{rows.chunk:07}{i:07}"
            _add(shard, f"{key}.png", png)
            _add(shard, f"{key}.json", _json(about))
            if rows.labels is not None:
                _add(shard, f"{key}.cls", str(about["label"]).encode())
    return buffer.getvalue()


def imagefolder(order: Order, rows: ChunkRows) -> bytes:
    """A zip of one folder: PNGs and the metadata.jsonl that names them.

    Unpacked side by side, the chunks of an order are one image folder.
    """

    def members() -> Iterator[tuple[str, bytes]]:
        folder, lines = f"chunk-{rows.chunk:05}", []
        for i, (png, about) in enumerate(_pictures(order, rows)):
            lines.append(_json({"file_name": f"{i:06}.png", **about}))
            yield f"{folder}/{i:06}.png", png
        yield f"{folder}/metadata.jsonl", b"".join(line + b"\n" for line in lines)

    return _zip(members())


def _pictures(order: Order, rows: ChunkRows) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Each row as a PNG, with what its row carries."""
    pixels = to_pixels(rows.images)
    for i in range(len(rows)):
        label = None if rows.labels is None else int(rows.labels[i])
        about = {
            "label": label,
            "label_name": None if label is None or order.labels is None else order.labels[label],
            "seed": int(rows.seeds[i]),
            "row": int(rows.rows[i]),
            "chunk": rows.chunk,
            "model_digest": order.digest,
            "is_synthetic": True,
            "digital_source_type": SOURCE_TYPE,
        }
        yield marked_png(pixels[i], order), about
        if i % _BREATHE_EVERY == 0:
            time.sleep(0)


def _channels_first(rows: ChunkRows) -> NDArray[np.uint8]:
    return np.ascontiguousarray(to_pixels(rows.images).transpose(0, 3, 1, 2))


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _zip(members: Iterator[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members:
            entry = zipfile.ZipInfo(name, date_time=_ZIP_DATE)
            entry.create_system = 3  # Unix, wherever this runs
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    shard.addfile(member, io.BytesIO(content))
