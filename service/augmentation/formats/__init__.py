"""The files of an order: one a chunk, whose bytes depend on its rows alone.

ChunkRows ──columns──► parquet | arrow | csv | npz | tar of PNGs | zip of PNGs

FORMATS has each with its suffix; the writers are imported when an order needs them, since Arrow
alone costs a service some thirty megabytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import cast

from service.augmentation.chunks import ChunkRows
from service.augmentation.order import Format, Order

Writer = Callable[[Order, ChunkRows], bytes]
DATA = "data"
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
OF_TABLES: tuple[Format, ...] = ("parquet", "arrow", "csv")  # what holds rows of tables
MAX_CSV_PIXELS = 4096  # more columns than this open in no program that reads CSV


@dataclass(frozen=True)
class FileFormat:
    """One format: its suffix, its media type, and where its writer is."""

    suffix: str
    media_type: str
    module: str
    writer: str
    eight_bit: bool = False

    def write(self, order: Order, rows: ChunkRows) -> bytes:
        """One chunk's file."""
        module = import_module(f"service.augmentation.formats.{self.module}")
        return cast(Writer, getattr(module, self.writer))(order, rows)


FORMATS: dict[Format, FileFormat] = {
    "parquet": FileFormat("parquet", "application/vnd.apache.parquet", "tables", "parquet"),
    "arrow": FileFormat("arrow", "application/vnd.apache.arrow.file", "tables", "arrow"),
    "csv": FileFormat("csv", "text/csv; charset=utf-8", "tables", "csv", eight_bit=True),
    "npz": FileFormat("npz", "application/zip", "archives", "npz"),
    "webdataset": FileFormat("tar", "application/x-tar", "archives", "webdataset", eight_bit=True),
    "imagefolder": FileFormat("zip", "application/zip", "archives", "imagefolder", eight_bit=True),
}


def file_name(order: Order, chunk: int) -> str:
    """`data/chunk-00000.parquet`: as many digits as make names sort in order, at least five.

    The files have a folder of their own, since readers of data sets take a folder for one format.
    """
    digits = max(5, len(str(order.chunks - 1)))
    return f"{DATA}/chunk-{chunk:0{digits}}.{FORMATS[order.format].suffix}"
