"""Files of images → uint8 arrays: idx, npz, Parquet, folders of PNG and JPEG.

path ──► read ──► (images uint8 [n, C, H, W], labels int64 [n] or None)

Every parser treats its file as untrusted: no pickle, sizes are checked before they are believed,
and an error names the file and what is wrong with it.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image, UnidentifiedImageError

Arrays: TypeAlias = tuple[UInt8[np.ndarray, "n C H W"], Int64[np.ndarray, " n"] | None]

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg"}
IDX_UNSIGNED_BYTE = 0x08


class DataError(ValueError):
    """Data that cannot be found, read or understood; the message names it and the remedy."""


def read(path: Path, *, size: int | None, channels: int | None) -> Arrays:
    """Read a folder of images, an .npz or a .parquet file.

    Args:
        path: what to read.
        size: pixels a side to resize to; None: all images must have one size.
        channels: 1 grey, 3 RGB; None: as the first image.

    Raises:
        DataError: the path is missing, of another kind, or holds something else than images.
    """
    if path.is_dir():
        return read_folder(path, size=size, channels=channels)
    if not path.exists():
        raise DataError(f"{path} does not exist: give a folder, an .npz or a .parquet file")
    if path.suffix == ".npz":
        return read_npz(path, size=size, channels=channels)
    if path.suffix == ".parquet":
        return read_parquet(path, size=size, channels=channels)
    raise DataError(f"{path} is neither a folder nor an .npz or .parquet file")


def parse_idx(content: bytes, *, name: str) -> UInt8[np.ndarray, "..."]:
    """Parse an idx file of unsigned bytes: 0 0 type rank, big-endian sizes, then the values.

    Raises:
        DataError: the header is not idx, or the length disagrees with the sizes it states.
    """
    if len(content) < 4 or content[:2] != b"\0\0":
        raise DataError(f"{name} is not an idx file: it must begin with two zero bytes")
    kind, rank = content[2], content[3]
    if kind != IDX_UNSIGNED_BYTE or not 1 <= rank <= 4:
        raise DataError(f"{name} has idx type 0x{kind:02x} and rank {rank}; want bytes, rank 1-4")
    start = 4 + 4 * rank
    if len(content) < start:
        raise DataError(f"{name} ends inside its header")
    sizes = [int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank)]
    expected = start
    product = 1
    for extent in sizes:
        product *= extent
    expected += product
    if len(content) != expected:
        raise DataError(f"{name} has {len(content)} bytes; sizes {sizes} need {expected}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes)


def read_folder(path: Path, *, size: int | None, channels: int | None) -> Arrays:
    """Read every PNG and JPEG under `path`; first-level sub-folders, sorted, are the labels."""
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise DataError(f"{path} has no PNG or JPEG file")
    folders = [p.relative_to(path).parts[0] if p.parent != path else None for p in files]
    decoded = []
    for file in files:
        decoded.append(_decode(file.read_bytes(), name=str(file), size=size, channels=channels))
        channels = decoded[0].shape[0]
    if all(folder is None for folder in folders):
        return _stack(decoded, name=str(path)), None
    if any(folder is None for folder in folders):
        raise DataError(f"{path} mixes images beside sub-folders with images inside them")
    index = {folder: i for i, folder in enumerate(sorted({f for f in folders if f}))}
    labels = np.array([index[folder] for folder in folders if folder], np.int64)
    return _stack(decoded, name=str(path)), labels


def read_npz(path: Path, *, size: int | None, channels: int | None) -> Arrays:
    """Read `images` (uint8 0…255, or floats in [0, 1]) and optional `labels` from an .npz file.

    Images are [n, H, W], [n, C, H, W] or [n, H, W, C] with C 1 or 3.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {key: archive[key] for key in ("images", "labels") if key in archive}
            keys = list(archive)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as .npz: {error}") from error
    if "images" not in found:
        raise DataError(f"{path} has no array 'images'; it has {keys}")
    images = _to_bytes(_channels_first(found["images"], name=str(path)), name=str(path))
    labels = _labels(found.get("labels"), n=len(images), name=str(path))
    wanted = channels or images.shape[1]
    if size in (None, *images.shape[2:3]) and wanted == images.shape[1]:
        return images, labels
    pictures = [Image.fromarray(_channels_last(image)) for image in images]
    return np.stack([_to_array(p, size=size, channels=wanted) for p in pictures]), labels


def read_parquet(path: Path, *, size: int | None, channels: int | None) -> Arrays:
    """Read a Parquet file: `image` or `img` holds bytes or {bytes, path}; `label` is kept."""
    import pyarrow as pa  # noqa: PLC0415  (slow to import, and few trainings read Parquet)
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error
    column = next((c for c in ("image", "img") if c in table.column_names), None)
    if column is None:
        raise DataError(f"{path} has no column 'image' or 'img'; it has {table.column_names}")
    decoded = []
    for row, cell in enumerate(table[column].to_pylist()):
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(content, bytes):
            raise DataError(f"{path}: row {row} of {column!r} holds no image bytes")
        name = f"{path}: row {row}"
        decoded.append(_decode(content, name=name, size=size, channels=channels))
        channels = decoded[0].shape[0]
    if not decoded:
        raise DataError(f"{path} has no rows")
    raw = np.array(table["label"].to_pylist()) if "label" in table.column_names else None
    return _stack(decoded, name=str(path)), _labels(raw, n=len(decoded), name=str(path))


def _decode(
    content: bytes, *, name: str, size: int | None, channels: int | None
) -> UInt8[np.ndarray, "C H W"]:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            wanted = channels or (1 if image.mode in {"1", "L", "LA", "I;16"} else 3)
            return _to_array(image, size=size, channels=wanted)
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{name} is not a readable image") from error


def _to_array(image: Image.Image, *, size: int | None, channels: int) -> UInt8[np.ndarray, "C H W"]:
    image = image.convert("L" if channels == 1 else "RGB")
    if size is not None and image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    pixels = np.asarray(image, np.uint8)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _stack(decoded: list[UInt8[np.ndarray, "C H W"]], *, name: str) -> UInt8[np.ndarray, "n C H W"]:
    shapes = {image.shape for image in decoded}
    if len(shapes) > 1:
        listed = ", ".join(str(shape) for shape in sorted(shapes)[:3])
        raise DataError(f"{name} has images of several shapes ({listed}, …): set 'size'")
    return np.stack(decoded)


def _channels_first(images: np.ndarray[Any, Any], *, name: str) -> np.ndarray[Any, Any]:
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[1] in (1, 3):
        return images
    if images.ndim == 4 and images.shape[3] in (1, 3):
        return images.transpose(0, 3, 1, 2)
    raise DataError(f"{name}: 'images' has shape {images.shape}; want [n, H, W] or [n, C, H, W]")


def _channels_last(image: UInt8[np.ndarray, "C H W"]) -> UInt8[np.ndarray, "..."]:
    return image[0] if image.shape[0] == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))


def _to_bytes(images: np.ndarray[Any, Any], *, name: str) -> UInt8[np.ndarray, "n C H W"]:
    if not images.size:
        raise DataError(f"{name}: 'images' is empty")
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise DataError(f"{name}: 'images' is {images.dtype}; want uint8, or floats in [0, 1]")
    if not (np.isfinite(images).all() and images.min() >= 0 and images.max() <= 1):
        raise DataError(f"{name}: 'images' must lie in [0, 1], without NaN")
    pixels: UInt8[np.ndarray, "n C H W"] = np.rint(images * 255).astype(np.uint8)
    return pixels


def _labels(
    raw: np.ndarray[Any, Any] | None, *, n: int, name: str
) -> Int64[np.ndarray, " n"] | None:
    if raw is None:
        return None
    if raw.shape != (n,) or not np.issubdtype(raw.dtype, np.integer) or (n and raw.min() < 0):
        raise DataError(f"{name}: labels must be {n} whole numbers from 0, one an image")
    return raw.astype(np.int64)
