"""multipart/form-data in memory: files by field, and text by field.

body ──parse──► [Part(name, filename, content), …]        RFC 7578

The body has been read and counted already, so nothing is spooled to a disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import InvalidInput

MAX_PARTS = 70_000  # more than the most rows that an operator can allow


@dataclass
class Part:
    """One field of a form; `filename` is None unless it is a file."""

    name: str = ""
    filename: str | None = None
    content: bytes = b""


@dataclass
class _Collector:
    """What the parser's callbacks fill in."""

    parts: list[Part] = field(default_factory=list)
    ended: bool = False
    _header: bytes = b""
    _value: bytes = b""
    _pieces: list[bytes] = field(default_factory=list)

    def begin(self) -> None:
        if len(self.parts) >= MAX_PARTS:
            raise InvalidInput(f"the form has more than {MAX_PARTS} parts")
        self.parts.append(Part())
        self._pieces = []

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            part = self.parts[-1]
            part.name = options.get(b"name", b"").decode("utf-8", "replace")
            filename = options.get(b"filename")
            part.filename = None if filename is None else filename.decode("utf-8", "replace")
        self._header = self._value = b""

    def data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(data[start:end])

    def part_end(self) -> None:
        self.parts[-1].content = b"".join(self._pieces)

    def end(self) -> None:
        self.ended = True


def parse(content_type: str, body: bytes) -> list[Part]:
    """The parts of a form, in order.

    Raises:
        InvalidInput: no boundary, a damaged form, one that is cut off, or a part without a name.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise InvalidInput("the multipart Content-Type names no boundary")
    collector = _Collector()
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": collector.begin,
                "on_header_field": collector.header_field,
                "on_header_value": collector.header_value,
                "on_header_end": collector.header_end,
                "on_part_data": collector.data,
                "on_part_end": collector.part_end,
                "on_end": collector.end,
            },
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise InvalidInput("the multipart form is damaged; send it whole") from error
    if not collector.ended:
        raise InvalidInput("the multipart form is cut off before its last boundary; send it whole")
    if not all(part.name for part in collector.parts):
        raise InvalidInput("a part of the form has no name; name it `image`, `mask` or a field")
    return collector.parts
