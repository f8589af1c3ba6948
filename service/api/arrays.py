"""Arrays as clients write them, made into what the engine takes, with every fault pointed at.

nested numbers | {"png": base64} | PNG file | npy array ──► float32 images, masks, latents

A batch axis may be left out, and a channel axis of 1. Values outside the range are refused, never
clipped. Pointers are JSON pointers (RFC 6901) into the request.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from service.api.encoding import decode_png
from service.errors import InvalidInput

Shape = tuple[int, int, int]
_MANY = 2**31  # masks are counted against the images, not against a limit


@dataclass(frozen=True)
class PngFile:
    """A PNG file from a multipart form."""

    content: bytes


def images(
    value: object, *, shape: Shape, limit: int, pointer: str
) -> Float[np.ndarray, "n c h w"]:
    """Images float32 [n, C, H, W] in [0, 1], n from 1 to `limit`.

    Raises:
        InvalidInput: a wrong shape, too few or too many, a value outside [0, 1] or not a number.
    """
    if isinstance(value, list) and any(isinstance(item, dict | PngFile) for item in value):
        _check_count(len(value), limit=limit, pointer=pointer)
        return np.stack(
            [image(item, shape=shape, pointer=f"{pointer}/{i}") for i, item in enumerate(value)]
        )
    if isinstance(value, dict | PngFile):
        return image(value, shape=shape, pointer=pointer)[np.newaxis]
    numbers = _numbers(value, pointer=pointer)
    laid_out = _as_images(numbers, shape=shape, pointer=pointer)
    _check_count(len(laid_out), limit=limit, pointer=pointer)
    batched = numbers.ndim == 4 or (numbers.ndim == 3 and shape[0] == 1)
    _check_range(laid_out, pointer=pointer, batched=batched)
    return np.ascontiguousarray(laid_out, dtype=np.float32)


def image(value: object, *, shape: Shape, pointer: str) -> Float[np.ndarray, "c h w"]:
    """One image float32 [C, H, W] in [0, 1]; errors as `images`."""
    if isinstance(value, PngFile):
        return decode_png(value.content, shape=shape, pointer=pointer)
    if isinstance(value, dict):
        return decode_png(_from_base64(value, pointer=pointer), shape=shape, pointer=pointer)
    found: Float[np.ndarray, "c h w"] = images(value, shape=shape, limit=1, pointer=pointer)[0]
    return found


def masks(
    value: object, *, shape: Shape, fill: int, pointer: str
) -> Float[np.ndarray, "masks h w"]:
    """Masks float32 [masks, H, W], where 1 marks what to fill; the engine judges the holes.

    Args:
        value: one mask or several; numbers 0 and 1, or PNGs in black and white.
        shape: the model's images, [C, H, W].
        fill: the number that marks a hole in `value`: 1 or 0.
        pointer: where `value` stands in the request.

    Raises:
        InvalidInput: a wrong size, or values that are not in [0, 1].
    """
    flat: Shape = (1, *shape[1:])
    try:
        found = images(value, shape=flat, limit=_MANY, pointer=pointer)[:, 0]
    except InvalidInput as error:
        where = error.fields[0].pointer if error.fields else pointer
        raise InvalidInput(f"as a mask of 0 and 1: {error.detail}", pointer=where) from error
    return found if fill == 1 else np.float32(1.0) - found


def latents(
    value: object, *, size: int | None, limit: int, pointer: str
) -> Float[np.ndarray, "n z"]:
    """Latents float32 [n, size]; one may come without the batch axis. `size` None: any."""
    numbers = _numbers(value, pointer=pointer)
    rows = numbers[np.newaxis] if numbers.ndim == 1 else numbers
    if rows.ndim != 2 or rows.shape[1] == 0 or (size is not None and rows.shape[1] != size):
        wanted = "size" if size is None else size
        raise InvalidInput(
            f"latents of shape {list(numbers.shape)} are not [n, {wanted}]", pointer=pointer
        )
    _check_count(len(rows), limit=limit, pointer=pointer, noun="latents")
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(rows, dtype=np.float32)
    if not np.isfinite(found).all():
        bad = int(np.argmin(np.isfinite(found).all(axis=1)))
        raise InvalidInput(
            "a latent has a value that is NaN, infinite or too large for float32",
            pointer=f"{pointer}/{bad}" if numbers.ndim == 2 else pointer,
        )
    return found


def _from_base64(value: dict[str, Any], *, pointer: str) -> bytes:
    text = value.get("png")
    if set(value) != {"png"} or not isinstance(text, str):
        raise InvalidInput(
            'an image is nested numbers, or {"png": "<base64>"} and nothing else', pointer=pointer
        )
    try:
        return base64.b64decode(text.removeprefix("data:image/png;base64,"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput("the PNG is not valid base64", pointer=f"{pointer}/png") from error


def _numbers(value: object, *, pointer: str) -> NDArray[Any]:
    """Any nest of numbers of one shape as an array; anything else is refused."""
    if not isinstance(value, np.ndarray | list):
        raise InvalidInput(f"{_kind(value)} is not an array; send nested numbers", pointer=pointer)
    try:
        found = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            "the rows are not all of one length; send a full array", pointer=_ragged(value, pointer)
        ) from error
    if found.dtype.kind not in "fiub":
        raise InvalidInput(
            "the array has members that are not numbers", pointer=_not_numbers(value, pointer)
        )
    return found


def _ragged(value: object, pointer: str) -> str:
    """The first item that is not shaped like the others, if that can be told."""
    shapes = [_shape_or_none(item) for item in value] if isinstance(value, list) else []
    usual = next((s for s in shapes if s is not None), None)
    odd = next((i for i, s in enumerate(shapes) if s is None or s != usual), None)
    return pointer if odd is None else f"{pointer}/{odd}"


def _shape_or_none(item: object) -> tuple[int, ...] | None:
    try:
        return np.asarray(item).shape
    except (ValueError, OverflowError):
        return None


def _not_numbers(value: object, pointer: str) -> str:
    """The first item that holds something other than numbers."""
    if isinstance(value, list):
        for i, item in enumerate(value):
            if np.asarray(item).dtype.kind not in "fiub":
                return f"{pointer}/{i}"
    return pointer


def _as_images(numbers: NDArray[Any], *, shape: Shape, pointer: str) -> NDArray[Any]:
    """A view [n, C, H, W], with the axes that were left out put back."""
    channels, *size = shape
    found = numbers.shape
    if found == shape or (channels == 1 and found == tuple(size)):
        return numbers.reshape(1, *shape)
    if found[1:] == shape or (channels == 1 and found[1:] == tuple(size)):
        return numbers.reshape(-1, *shape) if len(numbers) else numbers.reshape(0, *shape)
    wanted = f"[n, {channels}, {size[0]}, {size[1]}]"
    if channels == 1:
        wanted += f" or [n, {size[0]}, {size[1]}]"
    raise InvalidInput(f"shape {list(found)} is not {wanted}", pointer=pointer)


def _check_count(n: int, *, limit: int, pointer: str, noun: str = "images") -> None:
    if n == 0:
        raise InvalidInput(f"there are no {noun}; send at least one", pointer=pointer)
    if n > limit:
        raise InvalidInput(
            f"{n} {noun} exceed {limit}; send them in several requests", pointer=pointer
        )


def _check_range(found: NDArray[Any], *, pointer: str, batched: bool) -> None:
    """Every value in [0, 1]; NaN compares false and is refused with the rest."""
    if found.min() >= 0 and found.max() <= 1:
        return
    inside = (found >= 0) & (found <= 1)
    place: Sequence[int] = [int(i) for i in np.unravel_index(int(np.argmin(inside)), found.shape)]
    value = float(found[tuple(place)])
    remedy = "divide 8-bit pixels by 255" if value > 1 else "scale the images to [0, 1]"
    raise InvalidInput(
        f"the value {value:g} at {place[1:]} is not in [0, 1]; {remedy}",
        pointer=f"{pointer}/{place[0]}" if batched else pointer,
    )


def _kind(value: object) -> str:
    names = {dict: "an object", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
