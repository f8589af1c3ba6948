"""What requests are made of: fields with their bounds, and what a model makes of them.

Arrays are `Any` to pydantic, which describes them in the schema and leaves the reading to `arrays`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema

from service.contract import ImageData, Manifest, Role
from service.errors import FieldError, InvalidInput, MissingCapability

MAX_SEED = 2**53 - 1
MAX_TIMEOUT_MS = 3_600_000

_ANY_IMAGE: dict[str, Any] = {
    "anyOf": [
        {"type": "array", "items": {}, "description": "[C, H, W], or [H, W] for grey images"},
        {
            "type": "object",
            "properties": {"png": {"type": "string", "contentEncoding": "base64"}},
            "required": ["png"],
            "additionalProperties": False,
        },
    ]
}
ImageArray = Annotated[Any, WithJsonSchema(_ANY_IMAGE)]
ImageArrays = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [{"type": "array", "items": {}}, *_ANY_IMAGE["anyOf"][1:]],
            "description": "[n, C, H, W] in [0, 1]; the batch axis and a channel axis of 1 may be "
            'left out; or {"png": "<base64>"}, or a list of them.',
        }
    ),
]
LatentArrays = Annotated[
    Any, WithJsonSchema({"type": "array", "items": {}, "description": "[n, latent]"})
]


def _at_most(setting: str, remedy: str) -> AfterValidator:
    """A bound that the operator sets: `value` ≤ settings.<setting>."""

    def check(value: int, info: ValidationInfo) -> int:
        limit = getattr(info.context, setting, None)
        if limit is not None and value > limit:
            raise ValueError(f"{info.field_name}={value} exceeds {limit}; {remedy}")
        return value

    return AfterValidator(check)


def _limit(setting: str) -> Callable[[dict[str, Any]], None]:
    """Mark a field for `openapi.py`, which writes the setting's value as its maximum."""
    return lambda schema: schema.update({"x-maximum-setting": setting})


Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Rows = Annotated[
    int,
    Field(ge=1, json_schema_extra=_limit("max_rows")),
    _at_most("max_rows", "order it with POST /v1/augmentations"),
]
Sweeps = Annotated[
    int,
    Field(ge=0, json_schema_extra=_limit("max_sweeps")),
    _at_most("max_sweeps", "ask for fewer"),
]
Frames = Annotated[
    int,
    Field(ge=2, json_schema_extra=_limit("max_frames")),
    _at_most("max_frames", "ask for fewer"),
]
Labels = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": ["integer", "string"]},
                {"type": "array", "items": {"type": ["integer", "string"]}},
            ]
        }
    ),
]

_VALUE = {"type": ["string", "number", "null"]}
_ROW: dict[str, Any] = {"type": "object", "additionalProperties": _VALUE}
TableRows = Annotated[
    Any,
    WithJsonSchema(
        {"type": "array", "items": _ROW, "description": "Models of tables: keyed by column."}
    ),
]
Conditions = Annotated[Any, WithJsonSchema(_ROW)]


def image_shape(manifest: Manifest) -> tuple[int, int, int]:
    """[C, H, W] of the model's images.

    Raises:
        MissingCapability: its examples are no images.
    """
    if not isinstance(manifest.data, ImageData):
        raise MissingCapability(f"{manifest.id} is a model of {manifest.data.kind}s, not of images")
    return manifest.data.shape


def feature_size(manifest: Manifest) -> int | None:
    """The size of what `encode` gives: the latent, or the hidden units that `decode` takes."""
    decode = manifest.functions.get("decode")
    hidden = decode.input(Role.HIDDEN) if decode else None
    if hidden is not None:
        return hidden.row_shape[0]
    return manifest.latent.size if manifest.latent else None


def class_indices(value: object, manifest: Manifest) -> tuple[int, ...] | None:
    """Class indices, names looked up; the engine judges how many there may be, and their range."""
    if value is None:
        return None
    names = manifest.labels.names if manifest.labels else ()
    listed = value if isinstance(value, list) else [value]
    known = [type(label) is int or label in names for label in listed]
    wrong = tuple(
        FieldError(
            pointer=f"/labels/{i}" if isinstance(value, list) else "/labels",
            detail=f"{str(label)[:40]!r} is no class; the classes are "
            f"{', '.join(names) or 'none'}, or their indices",
        )
        for i, label in enumerate(listed)
        if not known[i]
    )
    if wrong:
        raise InvalidInput.of(wrong[:20])
    return tuple(label if type(label) is int else names.index(label) for label in listed)
