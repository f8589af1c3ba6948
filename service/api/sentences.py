"""What is wrong with a field, in a sentence: the value, the limit, the remedy.

pydantic's ErrorDetails ──field_error──► FieldError(pointer, sentence)
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from typing import get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from service.errors import FieldError

SHOWN_CHARACTERS = 40


def pointer_to(location: Iterable[int | str]) -> str:
    """RFC 6901: `/` before each step, with ~ as ~0 and / as ~1."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in location)


def field_error(
    error: ErrorDetails, schema: type[BaseModel], *, also: Sequence[str] = ()
) -> FieldError:
    """One of pydantic's errors about `schema`; `also` are fields that it may stand beside."""
    return FieldError(pointer=pointer_to(error["loc"]), detail=_sentence(error, schema, also))


# pydantic's kinds of error in our words; the names in braces are its context's.
_BOUNDS = {
    "greater_than_equal": "is below {ge}",
    "greater_than": "is not above {gt}",
    "less_than_equal": "exceeds {le}",
    "less_than": "is not below {lt}",
    "too_short": "has {actual_length} items, fewer than {min_length}",
    "too_long": "has more than {max_length} items",
    "int_type": "is not a whole number",
    "int_parsing_size": "is too large a number",
    "float_type": "is not a number",
    "finite_number": "is not a finite number",
    "bool_type": "is not true or false",
    "string_type": "is not a string",
    "list_type": "is not a list",
    "model_type": "is not an object",
    "model_attributes_type": "is not an object",
}


def _sentence(error: ErrorDetails, schema: type[BaseModel], also: Sequence[str]) -> str:
    """What is wrong with one field: the value, the limit, the remedy."""
    name = "/".join(str(step) for step in error["loc"])
    kind, context = error["type"], error.get("ctx", {})
    match kind:
        case "missing":
            return f"{name} is missing; it is required"
        case "extra_forbidden":
            return _unknown(error, _known_fields(schema, error, also))
        case "value_error":
            return str(context["error"])
        case "literal_error":
            remedy = _nearest(str(error["input"]), context["expected"])
            return f"{name}={_shown(error['input'])} is not one of {context['expected']}{remedy}"
    what = _BOUNDS[kind].format(**context) if kind in _BOUNDS else f"is refused: {error['msg']}"
    return f"{name}={_shown(error['input'])} {what}"


def _shown(value: object) -> str:
    """The value as JSON, cut short; arrays and objects by their kind alone."""
    if isinstance(value, dict | list):
        return "{…}" if isinstance(value, dict) else "[…]"
    if not isinstance(value, str | int | float | None):
        return "a file or an array"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def _unknown(error: ErrorDetails, known: Sequence[str]) -> str:
    """An unknown field, with the known name that is nearest to it."""
    name = str(error["loc"][-1])
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    remedy = f"did you mean {close[0]!r}?" if close else f"the fields are {', '.join(known)}"
    return f"unknown field {name[:SHOWN_CHARACTERS]!r}; {remedy}"


def _known_fields(
    schema: type[BaseModel], error: ErrorDetails, also: Sequence[str]
) -> Sequence[str]:
    """The fields of the object in which the error is: the request, or an object within it."""
    if len(error["loc"]) > 1:
        inner = schema.model_fields[str(error["loc"][0])].annotation
        found = [c for c in (inner, *get_args(inner)) if isinstance(c, type)]
        return [name for c in found if issubclass(c, BaseModel) for name in c.model_fields]
    return [*schema.model_fields, *also]


def _nearest(given: str, expected: str) -> str:
    """The option that was probably meant; `expected` is pydantic's list of them in words."""
    options = [part.strip(" '") for part in expected.replace(" or ", ",").split(",")]
    close = difflib.get_close_matches(given, options, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
