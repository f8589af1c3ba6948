"""Strong entity tags: what decides the bytes of a seeded answer, hashed.

(model, digest, runtime, device, operation, query, format, rendering) ──sha256──► "tag"
"""

from __future__ import annotations

import hashlib

import numpy as np
import orjson

from service import queries


def seeds_of(query: queries.Query) -> tuple[int, ...]:
    """The seeds that a query names; none means that its answer is not a seeded one."""
    if isinstance(query, queries.Interpolate):
        return tuple(p.seed for p in query.points if isinstance(p, queries.SeedPoint))
    seed = getattr(query, "seed", None)
    return () if seed is None else (seed,)


def entity_tag(*circumstances: object) -> str:
    """A strong tag of everything that decides an answer's bytes: plain values and queries."""
    canonical = orjson.dumps(circumstances, default=_by_content)
    return f'"{hashlib.sha256(canonical).hexdigest()[:40]}"'


def _by_content(array: object) -> tuple[str, str]:
    """An array by its shape and its bytes, which are float32 in every query."""
    assert isinstance(array, np.ndarray), "queries hold plain values and arrays"
    content = hashlib.sha256(np.ascontiguousarray(array).data)
    return f"{array.dtype.str}{array.shape}", content.hexdigest()
