"""What can go wrong, in words a caller can act on; knows no HTTP.

engine, batching, chains, registry ──raise──► ServiceError ──api/handlers.py──► problem+json

Each message names the value, the limit and the remedy, and never a path, an address or a traceback.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FieldError:
    """One field that is wrong: a JSON pointer and a sentence."""

    pointer: str
    detail: str


class ServiceError(Exception):
    """The root: every error that a caller may be shown."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class InvalidInput(ServiceError):
    """A value that this operation or this model cannot take."""

    def __init__(self, detail: str, *, pointer: str | None = None) -> None:
        super().__init__(detail)
        self.fields: tuple[FieldError, ...] = (
            () if pointer is None else (FieldError(pointer=pointer, detail=detail),)
        )

    @classmethod
    def of(cls, fields: tuple[FieldError, ...]) -> InvalidInput:
        """Several wrong fields at once."""
        error = cls("; ".join(f"{f.pointer}: {f.detail}" for f in fields))
        error.fields = fields
        return error


class MissingCapability(InvalidInput):
    """The model is there, but cannot do this."""


class UnknownModel(ServiceError):
    """No model of that name, or no such version."""


class UnreadableFormat(ServiceError):
    """The request's content type is not one this operation reads."""


class UnwritableFormat(ServiceError):
    """None of the formats that the client accepts can carry this answer."""


class TooLarge(ServiceError):
    """The request is larger than this service takes."""


class Retryable(ServiceError):
    """Nothing is wrong with the request: try again after a while."""

    def __init__(self, detail: str, *, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Overloaded(Retryable):
    """The queue is full, or the wait would outlast the deadline."""


class NotReady(Retryable):
    """The model is still loading, or failed to, or the service is draining."""


class UnknownOrder(ServiceError):
    """No augmentation order of that id, or no such file of it."""


class IdempotencyClash(ServiceError):
    """The idempotency key was used before, with another request."""


class NoSpace(ServiceError):
    """The disk cannot hold what was asked for."""


class DeadlineExceeded(ServiceError):
    """The caller's time was up before the answer was there."""


class ComputeFailed(ServiceError):
    """The model's function failed on this work; the log has the cause under the request's id."""
