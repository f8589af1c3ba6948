"""Which formats each operation offers.

| operation   | JSON | npy | PNG | GIF, WebP | Arrow | zip |
|-------------|------|-----|-----|-----------|-------|-----|
| sample      | yes  | yes | sheet, near square         | | yes | yes |
| interpolate | yes  | yes | one row, or the grid | yes | yes | yes |
| inpaint     | yes  | yes | a row an image, a column a filling | | yes | yes |
| reconstruct | yes  | yes | sheet, near square         | | yes | yes |
| score, encode, classify | yes | yes | | | yes | |

Models of tables answer in JSON, Arrow and CSV instead: see `tables.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from service.api import npy
from service.contract import ImageData, Manifest


class Format(StrEnum):
    """A media type that answers come in."""

    JSON = "application/json"
    NPY = npy.MEDIA_TYPE
    PNG = "image/png"
    GIF = "image/gif"
    WEBP = "image/webp"
    ARROW = "application/vnd.apache.arrow.stream"
    ZIP = "application/zip"
    CSV = "text/csv"


_NUMBERS = (Format.JSON, Format.NPY, Format.ARROW)
_PICTURES = (Format.JSON, Format.NPY, Format.PNG, Format.ARROW, Format.ZIP)
FORMATS: Mapping[str, tuple[Format, ...]] = {
    "sample": _PICTURES,
    "interpolate": (
        Format.JSON, Format.NPY, Format.PNG, Format.WEBP, Format.GIF, Format.ARROW, Format.ZIP,
    ),
    "inpaint": _PICTURES,
    "score": _NUMBERS,
    "encode": _NUMBERS,
    "reconstruct": _PICTURES,
    "classify": _NUMBERS,
}  # fmt: skip
_OF_TABLES = (Format.JSON, Format.ARROW, Format.CSV)


def formats_of(operation: str, manifest: Manifest) -> tuple[Format, ...]:
    """What a model answers an operation in; the first is the default."""
    return FORMATS[operation] if isinstance(manifest.data, ImageData) else _OF_TABLES
