"""From the bytes of a request to a query.

body + query string ──document──► fields ──Request──► ──query──► queries.Query

JSON, npy and multipart all become one document of fields, which one schema judges; so every error
points into the same document, however it was sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar
from urllib.parse import parse_qsl

import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request as HttpRequest

from service.api import multipart, npy
from service.api.arrays import PngFile
from service.api.encoding import PNG_SIGNATURE
from service.api.sentences import SHOWN_CHARACTERS, field_error, pointer_to
from service.errors import InvalidInput, TooLarge, UnreadableFormat
from service.settings import Settings

READABLE = ("application/json", npy.MEDIA_TYPE, "multipart/form-data")
MAX_QUERY_FIELDS = 200
MAX_ERRORS = 20
# Fields whose value is text as it stands; any other text field is read as JSON, so "16" is 16.
_TEXT_FIELDS = frozenset({"start", "values", "method", "mask_convention"})

Document = dict[str, Any]
Schema = TypeVar("Schema", bound=BaseModel)


class Rendering(BaseModel):
    """How pictures are drawn; every operation takes these beside its own fields."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    names: ClassVar[frozenset[str]] = frozenset({"scale", "frame_ms"})

    scale: int | None = Field(
        None, ge=1, le=64, description="Screen pixels per pixel; default: 1 for one image, else "
        "what makes a sheet pleasant to look at."
    )  # fmt: skip
    frame_ms: int = Field(80, ge=20, le=10_000, description="How long a frame is shown, in ms.")


@dataclass(frozen=True)
class Layout:
    """What arrays mean to an operation that come without a name of their own."""

    of_array: Callable[[NDArray[Any]], Document]  # an npy body
    of_files: Callable[[list[PngFile]], Document]  # the `image` files of a form


async def read_body(request: HttpRequest, settings: Settings) -> bytes:
    """The request's body, counted as it comes.

    Raises:
        TooLarge: more than the limit, by its Content-Length or by what arrives.
        UnreadableFormat: it is compressed.
    """
    limit = settings.max_body_bytes
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnreadableFormat("the body is compressed; send it as it is")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(int(declared), limit)
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            raise _too_large(size, limit)
        if piece:
            pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _too_large(size: int, limit: int) -> TooLarge:
    return TooLarge(
        f"the body has {size} bytes or more, which exceeds {limit}; send fewer images a request"
    )


def media_type_of(request: HttpRequest) -> str:
    """The media type of the body, without parameters; empty when none is named.

    Raises:
        UnreadableFormat: it is not one that is read here.
    """
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found and found not in READABLE:
        raise UnreadableFormat(
            f"Content-Type {found[:SHOWN_CHARACTERS]!r} is not read here; "
            f"send {', '.join(READABLE)}"
        )
    return found


def document(
    body: bytes, *, content_type: str, media_type: str, query_string: bytes, layout: Layout
) -> tuple[Document, Document]:
    """(the request's fields, the rendering's fields), from the body and the query string.

    Raises:
        InvalidInput: the body is not what its type says, or a field is given twice.
    """
    found = _body_fields(body, content_type=content_type, media_type=media_type, layout=layout)
    fields = _merged(_query_fields(query_string), found)
    rendering = {name: fields.pop(name) for name in Rendering.names & fields.keys()}
    return fields, rendering


def validated(schema: type[Schema], fields: Document, settings: Settings) -> Schema:
    """`fields` as the schema says, with the operator's limits.

    Raises:
        InvalidInput: with a pointer and a sentence for every field that is wrong.
    """
    try:
        return schema.model_validate(fields, context=settings)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=True)[:MAX_ERRORS]
        also = () if schema is Rendering else tuple(Rendering.model_fields)
        fields_wrong = tuple(field_error(e, schema, also=also) for e in found)
        raise InvalidInput.of(fields_wrong) from None


def _body_fields(body: bytes, *, content_type: str, media_type: str, layout: Layout) -> Document:
    if not body:
        return {}
    if media_type == npy.MEDIA_TYPE:
        return layout.of_array(npy.read(body))
    if media_type == "multipart/form-data":
        return _form_fields(multipart.parse(content_type, body), layout)
    return _json_fields(body)


def _json_fields(body: bytes) -> Document:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise InvalidInput('the body is not a JSON object; send {"field": value, …}')
    return found


def _query_fields(query_string: bytes) -> Document:
    try:
        pairs = parse_qsl(
            query_string.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS
        )
    except ValueError as error:
        raise InvalidInput(f"the query string has more than {MAX_QUERY_FIELDS} fields") from error
    return _gathered(pairs)


def _gathered(pairs: Iterable[tuple[str, str]]) -> Document:
    """Fields from text; a field that repeats is a list."""
    fields: Document = {}
    repeated: set[str] = set()
    for name, text in pairs:
        value = text if name in _TEXT_FIELDS else _value_of(text)
        if name not in fields:
            fields[name] = value
        elif name in repeated:
            fields[name].append(value)
        else:
            fields[name] = [fields[name], value]
            repeated.add(name)
    return fields


def _value_of(text: str) -> object:
    """Text as JSON where it is JSON, else as it stands."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _form_fields(parts: list[multipart.Part], layout: Layout) -> Document:
    files: dict[str, list[PngFile]] = {}
    texts: list[tuple[str, str]] = []
    for part in parts:
        if part.filename is not None or part.content.startswith(PNG_SIGNATURE):
            files.setdefault(part.name, []).append(PngFile(part.content))
        else:
            texts.append((part.name, part.content.decode("utf-8", "replace")))
    fields = _gathered(texts)
    images = files.pop("image", None)
    named = {} if images is None else layout.of_files(images)
    named |= {name: found if len(found) > 1 else found[0] for name, found in files.items()}
    return _merged(fields, named)


def _merged(fields: Document, more: Document) -> Document:
    """Both; a field that is in both is refused."""
    for name in more:
        if name in fields:
            raise InvalidInput(f"{name} is given twice; give it once", pointer=pointer_to([name]))
    return fields | more
