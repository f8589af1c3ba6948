"""When a request is sent again, after how long, and until when: one policy for both clients.

try ──fails──► repeatable? ──► Retry-After + backoff ──fits the deadline?──► try again

Backoff is exponential with full jitter, on top of what the server asks for and never under it:
Brooker, "Exponential Backoff and Jitter" (AWS Architecture Blog, 2015).
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from tenacity import RetryCallState, retry_if_exception

from service.client.errors import DeadlineExceeded, ReverieError, Unreachable

log = logging.getLogger("reverie.client")

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
CONNECT_S = 5.0  # longest wait for one connection, so that a dead host leaves time for another try
SILENCE_S = 30.0  # longest wait for the next byte of a stream that has no deadline


@dataclass(frozen=True)
class Deadline:
    """Until when a call may go on, with all its tries; `until` is on the monotonic clock."""

    timeout_s: float
    until: float

    @classmethod
    def lasting(cls, timeout_s: float | None) -> Deadline:
        """A deadline `timeout_s` seconds from now; None for none.

        Raises:
            ValueError: it is not above 0.
        """
        if timeout_s is not None and not timeout_s > 0:
            raise ValueError(f"timeout_s={timeout_s} is not above 0; give it in seconds")
        seconds = math.inf if timeout_s is None else timeout_s
        return cls(timeout_s=seconds, until=time.monotonic() + seconds)

    @property
    def remaining_s(self) -> float:
        """Seconds that are left, at least 0; may be infinite."""
        return max(0.0, self.until - time.monotonic())

    def exceeded(self) -> DeadlineExceeded:
        """The error that says so."""
        return DeadlineExceeded(
            f"no answer within {self.timeout_s:g} s; allow more with timeout_s, or ask for less"
        )

    def check(self) -> None:
        """Raise the error if the time is up."""
        if self.remaining_s <= 0:
            raise self.exceeded()

    def limits(self) -> httpx.Timeout:
        """How long one step of a try may take."""
        left = max(0.001, self.remaining_s)
        return httpx.Timeout(min(left, SILENCE_S) if left == math.inf else left,
                             connect=min(left, CONNECT_S))  # fmt: skip


@contextmanager
def translated(deadline: Deadline, address: str) -> Iterator[None]:
    """Turn what the transport raises into this client's errors.

    Raises:
        DeadlineExceeded: the call's time was up.
        Unreachable: there was no connection, or it broke.
    """
    try:
        yield
    except (httpx.TimeoutException, TimeoutError) as error:
        if deadline.remaining_s <= 0.001:
            raise deadline.exceeded() from error
        raise _unreachable(address, error) from error
    except httpx.TransportError as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> Unreachable:
    return Unreachable(
        f"{address} gave no whole answer ({type(error).__name__}); is the service running there?"
    )


def policy(
    deadline: Deadline,
    *,
    stop: Callable[[RetryCallState], bool],
    draw: Callable[[], float] = random.random,
) -> dict[str, Any]:
    """The arguments of tenacity's `Retrying` and `AsyncRetrying`.

    Args:
        deadline: a pause that would end after it is not begun: the last error is raised instead.
        stop: whether there were enough tries, apart from the deadline.
        draw: uniform numbers in [0, 1), for the jitter.
    """

    def pause(state: RetryCallState) -> float:
        return pause_s(_error_of(state), tries=state.attempt_number, draw=draw)

    def enough(state: RetryCallState) -> bool:
        return stop(state) or state.upcoming_sleep >= deadline.remaining_s

    return {
        "retry": retry_if_exception(is_repeatable),
        "wait": pause,
        "stop": enough,
        "before_sleep": _note,
        "reraise": True,
    }


def after_tries(tries: int) -> Callable[[RetryCallState], bool]:
    """Stop after so many tries."""
    return lambda state: state.attempt_number >= tries


def is_repeatable(error: BaseException) -> bool:
    """Whether the same request may succeed a little later."""
    return isinstance(error, ReverieError) and error.repeatable


def pause_s(error: BaseException | None, *, tries: int, draw: Callable[[], float]) -> float:
    """Seconds to wait after `tries` tries: what the server asked for, and a jittered backoff."""
    backoff = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(tries - 1, 30)) * draw()
    asked = error.retry_after_s if isinstance(error, ReverieError) else None
    return (asked or 0.0) + backoff


def _error_of(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None


def _note(state: RetryCallState) -> None:
    log.info(
        "try %d failed: %s; the next in %.2f s",
        state.attempt_number, _error_of(state), state.upcoming_sleep,
    )  # fmt: skip
