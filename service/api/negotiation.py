"""Which representation a client would rather have, and whether it has it already.

Accept ──preferred──► media type | None        If-None-Match ──matches──► bool
RFC 9110, §12.5.1 (Accept) and §13.1.2 (If-None-Match).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_RANGE = re.compile(rf"^({_WORD})/({_WORD})$")
_QUALITY = re.compile(r"^(0(\.\d{0,3})?|1(\.0{0,3})?)$")
_ENTITY_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_MEMBER = re.compile(r'(?:[^,"]|"(?:\\.|[^"\\])*")+')


@dataclass(frozen=True)
class MediaRange:
    """One member of an Accept header: `type/subtype`, either may be `*`, and its quality."""

    type: str
    subtype: str
    quality: float

    def specificity(self, media_type: str) -> int:
        """How closely this range names `media_type`: 3 exactly, 2 by type, 1 as */*, 0 not."""
        main, _, sub = media_type.partition("/")
        if self.type == main:
            return 3 if self.subtype == sub else 2 if self.subtype == "*" else 0
        return 1 if self.type == self.subtype == "*" else 0


def parse_accept(header: str) -> tuple[MediaRange, ...]:
    """The media ranges of an Accept header; members that are not well formed are left out.

    Parameters other than `q` are ignored: no representation here is told apart by them.
    """
    return tuple(r for r in map(_parse_range, _MEMBER.findall(header)) if r is not None)


def _parse_range(member: str) -> MediaRange | None:
    name, *parameters = (part.strip() for part in member.split(";"))
    found = _RANGE.match(name)
    if found is None or (found[1] == "*" and found[2] != "*"):
        return None
    quality = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "q":
            if _QUALITY.match(value.strip()) is None:
                return None
            quality = float(value)
    return MediaRange(found[1].lower(), found[2].lower(), quality)


def preferred(header: str, offered: Sequence[str]) -> str | None:
    """The offered media type that the client likes best, or None when it accepts none of them.

    The most specific range decides a type's quality; the earlier offer wins a tie; a header that
    is absent or empty accepts everything.
    """
    if header in {"", "*/*"}:
        return offered[0]
    ranges = parse_accept(header)
    best, best_quality = None, 0.0
    for media_type in offered:
        quality = max(((r.specificity(media_type), r.quality) for r in ranges), default=(0, 0.0))
        if quality[0] > 0 and quality[1] > best_quality:
            best, best_quality = media_type, quality[1]
    return best


def matches(if_none_match: str, etag: str) -> bool:
    """Whether `etag` is among the tags of an If-None-Match header, by weak comparison; `*` is."""
    header = if_none_match.strip()
    if header == "*":
        return True
    strong = etag.removeprefix("W/")
    return any(tag == strong for tag in _ENTITY_TAG.findall(header))
