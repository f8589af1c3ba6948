"""Methods made from functions, which `help` and editors describe as if they had been written out.

build(model, …) -> Request[Samples]   ──as_method──►   method(self, model, …) -> Samples
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

M = TypeVar("M", bound=Callable[..., Any])


def as_method(method: M, build: Callable[..., Any], *, returns: str | None = None) -> M:
    """`method` with the signature of `build`, after `self`; `returns` None: what its request gives.

    Only what people and tools read is set here: the call itself passes its arguments on.
    """
    given = inspect.signature(build)
    found = returns or str(given.return_annotation).removeprefix("Request[").removesuffix("]")
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    method.__signature__ = given.replace(  # type: ignore[attr-defined]
        parameters=[own, *given.parameters.values()], return_annotation=found
    )
    return method
