"""An answer in each of the formats that its operation offers.

result ──parts_of──► Parts ──represent(format)──► bytes

Which formats there are is in `formats.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import orjson
from jaxtyping import UInt8
from numpy.typing import NDArray

from service import queries
from service.api import npy, tables
from service.api.decoding import Rendering
from service.api.encoding import animation_bytes, json_bytes, png_bytes, zip_bytes
from service.api.formats import Format
from service.contract import TableData
from service.domain.images import (
    comfortable_scale,
    contact_sheet,
    enlarge,
    near_square_columns,
    sheet_size,
    to_pixels,
)
from service.errors import InvalidInput

MAX_SHEET_PIXELS = 2**26


@dataclass(frozen=True)
class Parts:
    """An answer taken apart, as views: what each format needs of it."""

    document: dict[str, Any]  # JSON, beside model and digest
    array: NDArray[Any]  # npy
    columns: dict[str, NDArray[Any]]  # Arrow, beside the index; a row an example
    images: queries.Images | None = None  # pictures
    sheet_columns: int = 1
    names: tuple[str, ...] | None = None  # of the files in a zip, without suffix
    table: TableData | None = None  # what the cells of `array` mean


def parts_of(query: queries.Query, result: queries.Result) -> Parts:  # noqa: PLR0911  a table
    """Take a result apart."""
    match result:
        case queries.Sampled() | queries.Inpainted() if result.table is not None:
            return _rows(result)
        case queries.Sampled():
            return _sampled(result)
        case queries.Interpolated():
            return _interpolated(query, result)
        case queries.Inpainted():
            return _inpainted(result)
        case queries.Scored():
            return _scored(result)
        case queries.Encoded(features):
            document = {"shape": features.shape, "features": features}
            return Parts(document, features, {"features": features})
        case queries.Reconstructed(images):
            document = {"shape": images.shape, "images": images}
            sheet = near_square_columns(len(images))
            return Parts(document, images, {"sample": images}, images, sheet)
        case queries.Classified(probabilities, labels):
            document = {"labels": labels, "probabilities": probabilities}
            return Parts(document, probabilities, {"probabilities": probabilities})


def represent(  # noqa: PLR0911  a table
    parts: Parts, media: Format, *, about: Mapping[str, str], rendering: Rendering
) -> bytes:
    """The answer in one format.

    Args:
        parts: the answer, taken apart.
        media: one that the operation offers.
        about: model and digest, which JSON and Arrow carry.
        rendering: how pictures are drawn.

    Raises:
        InvalidInput: a contact sheet of a size that nobody can look at.
    """
    if parts.table is not None:
        return _table(parts, parts.table, media, about=about)
    match media:
        case Format.JSON:
            return json_bytes({**about, **parts.document})
        case Format.NPY:
            return npy.write(parts.array.astype(np.float32, copy=False))
        case Format.ARROW:
            return _arrow(parts, about)
        case Format.PNG:
            return png_bytes(_sheet(parts, rendering))
        case Format.GIF:
            return _animation(parts, rendering, "GIF")
        case Format.WEBP:
            return _animation(parts, rendering, "WEBP")
        case Format.ZIP:
            return _zip(parts, rendering)
        case Format.CSV:
            raise AssertionError("text/csv is offered for tables alone")


def _rows(result: queries.Sampled | queries.Inpainted) -> Parts:
    cells = result.samples
    document: dict[str, Any] = {"seed": result.seed, "shape": cells.shape}
    if isinstance(result, queries.Inpainted):
        document["hole_fraction"] = result.hole_fraction
    return Parts(document, cells, {"cells": cells}, table=result.table)


def _table(parts: Parts, table: TableData, media: Format, *, about: Mapping[str, str]) -> bytes:
    """Rows in one of the formats of tables."""
    if media is Format.CSV:
        return tables.csv_rows(table, parts.array)
    if media is Format.JSON:
        samples = tables.json_rows(table, parts.array)
        return json_bytes({**about, **parts.document, "samples": samples})
    from service.api.arrow import arrow_rows  # noqa: PLC0415  as below

    said = {name: orjson.dumps(found, option=orjson.OPT_SERIALIZE_NUMPY).decode()
            for name, found in parts.document.items()}  # fmt: skip
    return arrow_rows(table, parts.array, metadata=dict(about) | said)


def _sampled(result: queries.Sampled) -> Parts:
    samples = result.samples
    document: dict[str, Any] = {"seed": result.seed, "shape": samples.shape, "samples": samples}
    if result.diagnostics is not None:
        known = {k: v for k, v in asdict(result.diagnostics).items() if v is not None}
        document["diagnostics"] = known
    return Parts(document, samples, {"sample": samples}, samples, near_square_columns(len(samples)))


def _interpolated(query: queries.Query, result: queries.Interpolated) -> Parts:
    frames = result.frames
    grid = query.grid if isinstance(query, queries.Interpolate) else None
    return Parts(
        {"shape": frames.shape, "frames": frames, "latents": result.latents},
        frames,
        {"sample": frames, "latent": result.latents},
        frames,
        len(frames) if grid is None else grid[1],
    )


def _inpainted(result: queries.Inpainted) -> Parts:
    images, fillings = result.samples.shape[:2]
    flat = result.samples.reshape(images * fillings, *result.samples.shape[2:])
    image, filling = np.divmod(np.arange(images * fillings), fillings)
    return Parts(
        {
            "seed": result.seed,
            "shape": result.samples.shape,
            "samples": result.samples,
            "hole_fraction": result.hole_fraction,
        },
        result.samples,
        {"image": image, "filling": filling, "sample": flat},
        flat,
        fillings,
        tuple(
            f"{_padded(i, images)}-{_padded(f, fillings)}"
            for i in range(images)
            for f in range(fillings)
        ),
    )


def _scored(result: queries.Scored) -> Parts:
    document: dict[str, Any] = {
        "scores": result.scores,
        "p_values": result.p_values,
        "anomalous": result.anomalous,
        "threshold": result.threshold,
        "alpha": result.alpha,
        "method": result.method,
        "n_calibration": result.n_calibration,
    }
    columns: dict[str, NDArray[Any]] = {"score": result.scores}
    if result.p_values is not None and result.anomalous is not None:
        columns |= {"p_value": result.p_values, "anomalous": result.anomalous}
    if result.heatmaps is not None:
        document["heatmaps"] = columns["heatmap"] = result.heatmaps
    return Parts(document, result.scores, columns)


def _arrow(parts: Parts, about: Mapping[str, str]) -> bytes:
    from service.api.arrow import arrow_bytes  # noqa: PLC0415  only who asks for Arrow pays for it

    n = len(next(iter(parts.columns.values())))
    said = {
        name: orjson.dumps(parts.document[name]).decode()
        for name in ("seed", "shape", "labels", "method", "alpha", "threshold")
        if name in parts.document
    }
    columns = {"index": np.arange(n), **parts.columns}
    return arrow_bytes(columns, metadata=dict(about) | said)


def _sheet(parts: Parts, rendering: Rendering) -> UInt8[np.ndarray, "h w c"]:
    """One image as it is; several as a sheet."""
    images, columns = _images(parts), parts.sheet_columns
    n, _, height, width = images.shape
    rows = math.ceil(n / columns)
    scale = rendering.scale or (
        1 if n == 1
        else comfortable_scale(height=height, width=width, rows=rows, columns=columns)
    )  # fmt: skip
    tall, wide = sheet_size(height=height * scale, width=width * scale, rows=rows, columns=columns)
    if tall * wide > MAX_SHEET_PIXELS:
        raise InvalidInput(
            f"a sheet of {wide} × {tall} pixels exceeds {MAX_SHEET_PIXELS} pixels; ask for fewer "
            "images or a smaller scale, or accept application/zip",
            pointer="/scale",
        )
    return contact_sheet(enlarge(to_pixels(images), scale=scale), columns=columns)


def _animation(parts: Parts, rendering: Rendering, container: Literal["GIF", "WEBP"]) -> bytes:
    images = _images(parts)
    height, width = images.shape[2:]
    scale = rendering.scale or comfortable_scale(height=height, width=width, rows=1, columns=1)
    _check_tile(height * scale, width * scale, n=len(images))
    pixels = enlarge(to_pixels(images), scale=scale)
    return animation_bytes(pixels, container=container, frame_ms=rendering.frame_ms)


def _zip(parts: Parts, rendering: Rendering) -> bytes:
    images = _images(parts)
    n, _, height, width = images.shape
    scale = rendering.scale or 1
    _check_tile(height * scale, width * scale, n=n)
    names = parts.names or tuple(_padded(i, n) for i in range(n))
    pixels = enlarge(to_pixels(images), scale=scale)
    return zip_bytes(pixels, names=tuple(f"{name}.png" for name in names))


def _check_tile(height: int, width: int, *, n: int) -> None:
    if height * width * n > 4 * MAX_SHEET_PIXELS:
        raise InvalidInput(
            f"{n} images of {width} × {height} pixels exceed {4 * MAX_SHEET_PIXELS} pixels; ask "
            "for fewer images or a smaller scale",
            pointer="/scale",
        )


def _images(parts: Parts) -> queries.Images:
    assert parts.images is not None, "pictures are offered by operations that give images"
    return parts.images


def _padded(index: int, count: int) -> str:
    """The index with as many zeros in front as make names sort in order, at least four digits."""
    return str(index).zfill(max(4, len(str(count - 1))))
