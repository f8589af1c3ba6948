"""Noise as a function of (seed, row, stream, step): counter-based, so that order cannot matter.

(seed, row) ──► Philox-4×64 key;  (step, stream) ──► its counter
            ──► 16-bit integers | standard logistics | standard normals

Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") has no state besides
key and counter: row 7's noise at sweep 300 is the same whoever asks, in whatever batch. Integers
are the generator's raw output; all else comes from them by correctly rounded operations alone
(+ − × ÷ √), so that every machine gives the same bytes.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from enum import IntEnum
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float, UInt16, UInt32
from numpy.random import Philox

from service.domain.normals import log, normals

SEED_LIMIT = 2**53
_WORDS_A_BLOCK = 4  # Philox-4×64 gives four 64-bit words for each counter value
HALVES_A_WORD = 4  # and each word four 16-bit integers


class Stream(IntEnum):
    """Independent noise for one (seed, row): each purpose has its own."""

    LATENT = 0
    START = 1
    SWEEP = 2
    READOUT = 3
    LABEL = 4


def draw_seed() -> int:
    """A fresh seed in [0, 2^53), for requests that bring none."""
    return secrets.randbelow(SEED_LIMIT)


class RowNoise:
    """One row's stream of noise, read step by step from any step on."""

    def __init__(self, *, seed: int, row: int, stream: Stream, width: int, step: int = 0) -> None:
        """Begin at `step` of the stream that gives `width` 16-bit integers a step."""
        words = -(-width // HALVES_A_WORD)
        self._blocks_a_step = -(-words // _WORDS_A_BLOCK)
        self._width = width
        key = np.array([seed, row], dtype=np.uint64)
        counter = np.array([step * self._blocks_a_step, 0, 0, stream], dtype=np.uint64)
        self._philox = Philox(key=key, counter=counter)

    def take(self, steps: int) -> UInt16[np.ndarray, "steps width"]:
        """Uniform integers in [0, 65535] for the next `steps` steps.

        A call costs as much by itself as 200 integers do: take several steps at a time.
        """
        words = self._blocks_a_step * _WORDS_A_BLOCK
        raw = self._philox.random_raw(steps * words)
        halves = raw.astype("<u8", copy=False).view("<u2").reshape(steps, words * HALVES_A_WORD)
        return halves[:, : self._width]


def uniform16(
    *, seed: int, rows: Sequence[int], stream: Stream, width: int, step: int = 0
) -> UInt16[np.ndarray, "rows width"]:
    """One step of 16-bit integers for each row of `rows`."""
    noise = np.empty((len(rows), width), dtype=np.uint16)
    for i, row in enumerate(rows):
        noise[i] = RowNoise(seed=seed, row=row, stream=stream, width=width, step=step).take(1)[0]
    return noise


def logistic(integers: UInt16[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Standard logistic noise, float32: logit((u + ½)/2¹⁶) of uniform integers u.

    A unit of a Boltzmann machine is on where this is less than its log-odds, which is to say that
    (u + ½)/2¹⁶ < σ(log-odds): a probability finer than 2⁻¹⁶ is rounded.
    """
    noise: Float[np.ndarray, "*shape"] = np.take(_logistic_table(), integers)
    return noise


@cache
def _logistic_table() -> Float[np.ndarray, " levels"]:
    log_of_2 = 0.6931471805599453
    p = (np.arange(2**16) + 0.5) * 2.0**-16
    lower = log(p[: 2**15]) - (log((1.0 - p[: 2**15]) * 0.5) + log_of_2)
    table: Float[np.ndarray, " levels"] = np.concatenate([lower, -lower[::-1]]).astype(np.float32)
    return table


def standard_normal(
    *, seed: int, rows: Sequence[int], stream: Stream, width: int
) -> Float[np.ndarray, "rows width"]:
    """float32 standard normals, `width` for each row of `rows`."""
    return normals(uniform32([(seed, row) for row in rows], stream=stream, width=width))


def uniform32(
    keys: Sequence[tuple[int, int]], *, stream: Stream, width: int
) -> UInt32[np.ndarray, "keys width"]:
    """The first `width` 32-bit integers of the stream of each (seed, row) of `keys`.

    One generator is set to each key in turn: a new one would cost more than its integers do.
    """
    philox, state = _generator()
    state["state"]["counter"] = np.array([0, 0, 0, stream], np.uint64)
    words = -(-width // 2)
    drawn = np.empty((len(keys), words), "<u8")
    for row, key in zip(drawn, np.array(keys, np.uint64), strict=True):
        state["state"]["key"] = key
        philox.state = state  # type: ignore[assignment]  # numpy's TypedDict is private
        row[:] = philox.random_raw(words)
    integers: UInt32[np.ndarray, "keys width"] = drawn.view("<u4")[:, :width]
    return integers


def _generator() -> tuple[Philox, dict[str, Any]]:
    """This thread's generator to be set to a key, and what it is set by."""
    if not hasattr(_of_this_thread, "philox"):
        philox = Philox(key=0)
        _of_this_thread.philox, _of_this_thread.state = philox, dict(philox.state)
        _of_this_thread.state["buffer_pos"] = _WORDS_A_BLOCK  # nothing is buffered
    return _of_this_thread.philox, _of_this_thread.state


_of_this_thread = threading.local()
