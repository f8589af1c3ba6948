"""What a call may raise: one tree, with the server's own sentence in every branch.

reply ──problem_of──► ReverieError        RFC 9457 (problem+json), RFC 9110 §10.2.3 (Retry-After)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar

_SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class FieldProblem:
    """One field of the request that is wrong: a JSON pointer (RFC 6901) and a sentence."""

    pointer: str
    detail: str


class ReverieError(Exception):
    """The root: everything that this client raises of its own.

    Attributes:
        detail: a sentence with the value, the limit and the remedy; the same as `str(error)`.
        status: the HTTP status, or None when no answer came.
        title, type: what kind of problem it is, in words and as a stable URN; may be empty.
        request_id: what the service's log has this request under, or None.
        errors: the fields that are wrong, for `Invalid`.
        retry_after_s: how long the server asks to wait, in seconds, or None.
    """

    repeatable: ClassVar[bool] = False  # whether the same request may succeed a little later

    def __init__(
        self,
        detail: str,
        *,
        status: int | None = None,
        title: str = "",
        type: str = "",  # noqa: A002  RFC 9457's name
        request_id: str | None = None,
        errors: tuple[FieldProblem, ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.title = title
        self.type = type
        self.request_id = request_id
        self.errors = errors
        self.retry_after_s = retry_after_s


class Invalid(ReverieError):
    """The request cannot be taken as it is (4xx): a wrong value, or a model that cannot do this."""


class Unauthorised(ReverieError):
    """No API key, or not one that the service knows (401, 403)."""


class NotFound(ReverieError):
    """No such model, version, order or file (404)."""


class Conflict(ReverieError):
    """This idempotency key was used for another request, or the order is past that (409)."""


class TooLarge(ReverieError):
    """The request is larger than the service takes (413)."""


class Overloaded(ReverieError):
    """Too much work is waiting (429), and was for as long as could be waited."""

    repeatable = True


class Unavailable(ReverieError):
    """Loading, draining (503), or a gateway that finds no service behind it (502, 504)."""

    repeatable = True


class Unreachable(ReverieError):
    """No connection, or one that broke before the answer was whole."""

    repeatable = True


class DeadlineExceeded(ReverieError):
    """The time given with `timeout_s` was up before the answer was there."""


class ServerFailed(ReverieError):
    """Something failed in the service (5xx); its log has the cause under `request_id`."""


class NoSpace(ReverieError):
    """The service's disk cannot hold the order (507)."""


class BadAnswer(ReverieError):
    """The answer is not what this client understands: another service, or a newer one."""


class ChecksumMismatch(ReverieError):
    """A file that came whole, twice, and is not the one that the order names."""


class OrderFailed(ReverieError):
    """An augmentation order ended without its files."""


_BY_STATUS: dict[int, type[ReverieError]] = {
    401: Unauthorised, 403: Unauthorised, 404: NotFound, 409: Conflict, 413: TooLarge,
    429: Overloaded, 502: Unavailable, 503: Unavailable, 504: DeadlineExceeded,
    507: NoSpace,
}  # fmt: skip


def problem_of(status: int, headers: Mapping[str, str], content: bytes) -> ReverieError:
    """The error that an answer with `status` ≥ 400 tells of, whatever its body is."""
    document = _object_in(content)
    kind = _BY_STATUS.get(status, Invalid if status < 500 else ServerFailed)
    if kind is DeadlineExceeded and not document:
        kind = Unavailable  # a gateway's 504: the service itself would have said which deadline
    return kind(
        _text(document, "detail") or _without_words(status, content),
        status=status,
        title=_text(document, "title"),
        type=_text(document, "type"),
        request_id=_text(document, "request_id") or headers.get("x-request-id"),
        errors=_fields(document.get("errors")),
        retry_after_s=retry_after_s(headers, now=datetime.now(UTC)),
    )


def retry_after_s(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """How long Retry-After asks to wait: seconds ≥ 0; None without it, or if it makes no sense.

    A date is compared with the answer's own `Date` where it has one, so that a client whose clock
    is wrong waits as long as it should.
    """
    sent = headers.get("retry-after", "").strip()
    if sent.isascii() and sent.isdecimal():
        return float(sent) if len(sent) < 10 else None
    until = _moment(sent)
    if until is None:
        return None
    return max(0.0, (until - (_moment(headers.get("date", "")) or now)).total_seconds())


def _moment(date: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(date)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _object_in(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(document: Mapping[str, Any], name: str) -> str:
    found = document.get(name)
    return found if isinstance(found, str) else ""


def _fields(errors: object) -> tuple[FieldProblem, ...]:
    listed = errors if isinstance(errors, list) else []
    return tuple(
        FieldProblem(_text(e, "pointer"), _text(e, "detail")) for e in listed if isinstance(e, dict)
    )


def _without_words(status: int, content: bytes) -> str:
    text = content[: 4 * _SHOWN_CHARACTERS].decode("utf-8", "replace")
    shown = "".join(c if c.isprintable() else " " for c in text)[:_SHOWN_CHARACTERS].strip()
    return f"the server answered {status} without saying why" + (f": {shown}" if shown else "")
