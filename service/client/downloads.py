"""A file on its way to a folder: begun again where it broke off, and checked before it has a name.

OrderFile ──Part: Range + If-Range──► .NAME.DIGEST.part ──sha256──► NAME
RFC 9110, §13.1.5 (If-Range) and §14 (range requests). No I/O on the network here.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from service.client.errors import BadAnswer, ChecksumMismatch, ReverieError, Unreachable, problem_of
from service.client.ordering import OrderFile

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_PIECE_BYTES = 2**20


class Part:
    """One file of an order, as far as it has come.

    While it `wants_more`: send `headers()`, `begin` with the answer's head, `write` each piece, and
    leave the `with` block. Then `finish`.
    """

    def __init__(self, folder: Path, file: OrderFile) -> None:
        self.file = file
        self.path = folder / file.name
        self._part = self.path.with_name(f".{self.path.name}.{file.sha256[:16]}.part")
        self._out: IO[bytes] | None = None
        self._came_damaged = False
        self._furthest_bytes = self.have_bytes
        self._fruitless_tries = 0  # since it last got further

    @property
    def have_bytes(self) -> int:
        """How many bytes have come."""
        return self._part.stat().st_size if self._part.exists() else 0

    def is_there(self) -> bool:
        """Whether the file is there already, and is the one that the order names."""
        return (
            self.path.is_file()
            and self.path.stat().st_size == self.file.size_bytes
            and _sha256_of(self.path) == self.file.sha256
        )

    @property
    def wants_more(self) -> bool:
        """Whether bytes are missing; what came before may have been whole already."""
        return not self._part.exists() or self.have_bytes < self.file.size_bytes

    def is_stuck(self, tries: int) -> bool:
        """Whether so many tries have failed since it last got further; asked once a failed try."""
        further = self.have_bytes > self._furthest_bytes
        self._fruitless_tries = 0 if further else self._fruitless_tries + 1
        self._furthest_bytes = max(self._furthest_bytes, self.have_bytes)
        return self._fruitless_tries >= tries

    def headers(self) -> dict[str, str]:
        """What to ask for: the rest of the same bytes, or the whole file if it has changed."""
        sent = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if 0 < self.have_bytes < self.file.size_bytes:
            sent |= {"Range": f"bytes={self.have_bytes}-", "If-Range": f'"{self.file.sha256}"'}
        return sent

    def begin(self, status: int, headers: Mapping[str, str], content: bytes = b"") -> Part:
        """Open the part for what comes: appended to what is there, or from the start.

        Raises:
            ReverieError: the answer is a problem, or is not the range that was asked for.
        """
        if status == 416:  # longer than the file that is there now: start over
            self._part.unlink(missing_ok=True)
            raise Unreachable(f"{self.file.name} has no such range; it is fetched from the start")
        if status >= 400:
            raise problem_of(status, headers, content)
        if status not in {200, 206}:
            raise BadAnswer(f"{self.file.name} was answered with status {status}", status=status)
        if status == 206 and self._start_of(headers) != self.have_bytes:
            raise BadAnswer(f"{self.file.name} came with another range than was asked for")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._out = self._part.open("ab" if status == 206 else "wb")
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._out is not None:
            self._out.close()
            self._out = None

    def write(self, piece: bytes) -> None:
        """Keep a piece that has come."""
        assert self._out is not None, "begin() comes first"
        self._out.write(piece)

    def finish(self) -> Path:
        """Check what came, and give it its name.

        Raises:
            Unreachable: it is not whole yet, or was damaged on the way; ask once more.
            ChecksumMismatch: it was damaged twice.
        """
        have = self.have_bytes
        if have < self.file.size_bytes:
            raise Unreachable(
                f"{self.file.name} broke off after {have} of {self.file.size_bytes} bytes"
            )
        found = _sha256_of(self._part)
        if found != self.file.sha256:
            self._part.unlink()
            self._furthest_bytes = 0
            raise self._mismatch(found)
        self._part.replace(self.path)
        return self.path

    def _mismatch(self, found: str) -> ReverieError:
        again, self._came_damaged = self._came_damaged, True
        kind = ChecksumMismatch if again else Unreachable
        return kind(
            f"{self.file.name} has sha256 {found[:16]}…, and the order names "
            f"{self.file.sha256[:16]}…; it is not kept"
        )

    def _start_of(self, headers: Mapping[str, str]) -> int | None:
        found = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
        return int(found[1]) if found else None


@contextmanager
def folder_for(directory: str | PathLike[str] | None) -> Iterator[Path]:
    """The folder that was named, or one that lasts for as long as the context."""
    if directory is not None:
        yield Path(directory)
        return
    with tempfile.TemporaryDirectory(prefix="reverie-") as found:
        yield Path(found)


def _sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()
