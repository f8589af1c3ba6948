"""The npy format, read without trust: header and length are checked before any array is made.

bytes ──read──► array (a view, no copy)        array ──write──► bytes
Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import ast
import math
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidInput

MEDIA_TYPE = "application/x-npy"
_MAGIC = b"\x93NUMPY"
_MAX_HEADER_BYTES = 4096
_MAX_AXES = 8


def read(body: bytes) -> NDArray[Any]:
    """The array that an npy file holds, as a read-only view on `body`.

    Raises:
        InvalidInput: not npy, an unknown version, a damaged header, a dtype that is not a plain
            number or boolean, or a length that is not what the header says.
    """
    offset, header = _split(body)
    dtype, shape = _dtype(header.get("descr")), _shape(header.get("shape"))
    expected = math.prod(shape) * dtype.itemsize
    if len(body) - offset != expected:
        raise InvalidInput(
            f"the npy header says shape {list(shape)} of {dtype.name}, {expected} bytes, "
            f"but {len(body) - offset} bytes follow it; send the file whole"
        )
    flat = np.frombuffer(body, dtype, offset=offset)
    return flat.reshape(shape, order="F" if header.get("fortran_order") is True else "C")


def write(array: NDArray[Any]) -> bytes:
    """`array` as npy bytes."""
    return _header(array.shape, array.dtype.str) + array.tobytes()


@lru_cache(maxsize=256)
def _header(shape: tuple[int, ...], descr: str) -> bytes:
    buffer = BytesIO()
    fields = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, fields)
    return buffer.getvalue()


def _split(body: bytes) -> tuple[int, dict[str, Any]]:
    """(where the data begins, the header's fields)."""
    if body[:6] != _MAGIC:
        raise InvalidInput("the body is not npy: it does not begin with \\x93NUMPY")
    width = {b"\x01\x00": 2, b"\x02\x00": 4, b"\x03\x00": 4}.get(body[6:8])
    if width is None:
        raise InvalidInput("the npy version is not 1.0, 2.0 or 3.0")
    start = 8 + width
    length = int.from_bytes(body[8:start], "little")
    if length > _MAX_HEADER_BYTES or start + length > len(body):
        raise InvalidInput(
            f"the npy header says it has {length} bytes, more than are there or than "
            f"{_MAX_HEADER_BYTES}; send the file whole"
        )
    text = body[start : start + length].decode("latin-1").strip()
    try:
        header = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise InvalidInput("the npy header is damaged") from error
    if not isinstance(header, dict):
        raise InvalidInput("the npy header is damaged")
    return start + length, header


def _dtype(descr: object) -> np.dtype[Any]:
    """A dtype of plain numbers; anything that could run code or hide structure is refused."""
    refused = InvalidInput(
        "the npy dtype is not a plain number; send float32 (float16, float64, integers and "
        "booleans are taken as well)"
    )
    if not isinstance(descr, str) or len(descr) > 8:
        raise refused
    try:
        dtype = np.dtype(descr)
    except (TypeError, ValueError) as error:
        raise refused from error
    if dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise refused
    return dtype


def _shape(shape: object) -> tuple[int, ...]:
    if (
        not isinstance(shape, tuple)
        or len(shape) > _MAX_AXES
        or not all(type(d) is int and 0 <= d < 2**40 for d in shape)
    ):
        raise InvalidInput(f"the npy shape is not up to {_MAX_AXES} sizes, each from 0 to 2⁴⁰ − 1")
    return shape
