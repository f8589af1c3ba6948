"""The OpenAPI document: bodies of three types, answers in seven, headers, problems, examples.

routes ──FastAPI──► document ──completed(settings)──► /openapi.json

Requests are read by hand (three content types make one document of fields), so what FastAPI cannot
see of them is said here.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from service.api import bodies, handlers, npy, orders
from service.api.answers import OPERATIONS, Operation
from service.api.decoding import Rendering
from service.api.fields import MAX_TIMEOUT_MS
from service.api.formats import Format
from service.settings import Settings

_REF = "#/components/schemas/"
_SUMMARIES = {
    "sample": "Draw samples",
    "interpolate": "Walk through the latent space",
    "inpaint": "Fill in what is missing",
    "score": "Say how unusual images are",
    "encode": "Turn images into features",
    "reconstruct": "Draw images again, as the model sees them",
    "classify": "Give class probabilities",
}
# A drawn 1 of 28 × 28 pixels, and its centre as the hole: every example can be sent as it is.
EXAMPLE_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAABwAAAAcCAAAAABXZoBIAAAAU0lEQVR42mNgoAfwyMEtN+HPHw8cUio3/vz5MwFJ"
    "gAnJyBsqDAwMd7BLqjAwFOC2MUeF4c8fZBexILGnoKtmwuexUUk6SqrgiDIGBgYNlTu0T8UA6T0PtfcPWzUAAAAA"
    "SUVORK5CYII="
)
EXAMPLE_MASK_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAABwAAAAcAQAAAABaduI5AAAAGElEQVR42mNgIAwY//9gYGJgYKCIIAIAANF5AhPx"
    "4kuuAAAAAElFTkSuQmCC"
)
_EXAMPLE_IMAGE = {"images": [{"png": EXAMPLE_PNG}]}
EXAMPLES: dict[str, dict[str, Any]] = {
    "sample": {"n": 4, "seed": 7},
    "interpolate": {"points": [{"seed": 1}, {"seed": 2}], "frames": 8},
    "inpaint": {**_EXAMPLE_IMAGE, "mask": {"png": EXAMPLE_MASK_PNG}, "n": 2, "seed": 7},
    "score": {**_EXAMPLE_IMAGE, "alpha": 0.05},
    "encode": _EXAMPLE_IMAGE,
    "reconstruct": _EXAMPLE_IMAGE,
    "classify": _EXAMPLE_IMAGE,
}
_NPY_MEANING = {
    "sample": "latents [n, latent]",
    "interpolate": "points: latents [points, latent], or images [points, C, H, W]",
}
_FILES = {"inpaint": ("image", "mask"), "sample": ()}
_HEADERS = {
    "X-Request-Id": "The id that was sent, or a new one.",
    "X-Model": "name@version",
    "X-Model-Digest": "sha256 of everything that decides an answer",
    "X-Seed": "The seed, sent or drawn.",
    "Server-Timing": "decode, queue, compute and encode, in milliseconds",
    "ETag": "Strong, on seeded answers; If-None-Match with it gets 304.",
}
_PROBLEMS = {
    401: "No API key, or an unknown one",
    404: "No such model, or no such order",
    406: "None of the accepted formats is offered",
    413: "The body is larger than the limit",
    415: "The body's format is not read",
    422: "A field is wrong, or the model cannot do this",
    429: "Too much work is waiting; see Retry-After",
    500: "Something failed; the id finds it in the log",
    503: "Not ready, or draining; see Retry-After",
    504: "The deadline has passed",
}
_PROBLEMS_OF_ORDERS = {
    409: "The Idempotency-Key was used with another body",
    416: "The file has no such range",
    507: "The disk cannot hold the files",
}


def describe(operation: Operation) -> dict[str, Any]:
    """What FastAPI is told of one operation's route."""
    return {
        "operation_id": operation.name,
        "summary": _SUMMARIES[operation.name],
        "description": f"{operation.schema.__doc__}\n\nAnswers in "
        f"{', '.join(f'`{f}`' for f in operation.formats)}, as `Accept` asks.",
        "responses": {
            200: _success(operation),
            304: {"description": "The answer is the one that If-None-Match names"},
            **problems(*_PROBLEMS),
        },
        "openapi_extra": {
            "requestBody": _request_body(operation),
            "parameters": [*_rendering_parameters(), *_header_parameters()],
        },
    }


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that a route may answer with."""
    content = {handlers.MEDIA_TYPE: {"schema": _ref(bodies.Problem)}}
    described = _PROBLEMS | _PROBLEMS_OF_ORDERS
    return {s: {"description": described[s], "content": content} for s in statuses}


def json_answer(schema: type[BaseModel], description: str) -> dict[str, Any]:
    """A JSON answer of this schema."""
    return {
        "description": description,
        "content": {Format.JSON.value: {"schema": _ref(schema)}},
    }


def json_body(schema: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """A JSON body of this schema."""
    content = {"schema": _ref(schema), "example": example}
    return {"required": True, "content": {Format.JSON.value: content}}


def complete(app: FastAPI, settings: Settings) -> dict[str, Any]:
    """The whole document; made once."""
    if app.openapi_schema is None:
        found = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=app.description,
            routes=app.routes,
        )
        schemas = found.setdefault("components", {}).setdefault("schemas", {})
        for schema in _all_schemas():
            schemas.update(_components(schema, settings))
        if settings.api_keys:
            _ask_for_keys(found)
        app.openapi_schema = found
    return app.openapi_schema


def _all_schemas() -> list[type[BaseModel]]:
    requests: list[type[BaseModel]] = [o.schema for o in OPERATIONS.values()]
    return [
        *requests,
        *bodies.ANSWERS.values(),
        bodies.ModelList,
        bodies.ModelPage,
        bodies.Readiness,
        bodies.Liveness,
        bodies.Problem,
        orders.AugmentationRequest,
        orders.Augmentation,
        orders.AugmentationList,
        orders.OrderManifest,
    ]


def _components(schema: type[BaseModel], settings: Settings) -> dict[str, Any]:
    """The schema and those that it refers to, with the operator's limits written in."""
    found = schema.model_json_schema(ref_template=_REF + "{model}")
    inner = found.pop("$defs", {})
    both = {schema.__name__: found, **inner}
    _write_limits(both, settings)
    return both


def _write_limits(node: object, settings: Settings) -> None:
    if isinstance(node, dict):
        setting = node.pop("x-maximum-setting", None)
        if setting is not None:
            for branch in node.get("anyOf", [node]):
                if branch.get("type") != "null":
                    branch["maximum"] = getattr(settings, setting)
        for child in node.values():
            _write_limits(child, settings)
    elif isinstance(node, list):
        for child in node:
            _write_limits(child, settings)


def _ask_for_keys(document: dict[str, Any]) -> None:
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, operations in document["paths"].items():
        if path.startswith("/v1"):
            for operation in operations.values():
                operation["security"] = [{"key": []}]


def _ref(schema: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF + schema.__name__}


def _request_body(operation: Operation) -> dict[str, Any]:
    meaning = _NPY_MEANING.get(operation.name, "images [n, C, H, W]")
    return {
        "required": operation.name != "sample",
        "content": {
            "application/json": {
                "schema": _ref(operation.schema),
                "example": EXAMPLES[operation.name],
            },
            npy.MEDIA_TYPE: {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "description": f"The array is {meaning}; every other field goes in the "
                    "query string, under its name.",
                }
            },
            "multipart/form-data": {"schema": _form(operation)},
        },
    }


def _form(operation: Operation) -> dict[str, Any]:
    """The form's fields: files, and everything else as text (arrays and objects as JSON)."""
    files = _FILES.get(operation.name, ("image",))
    png = {"type": "string", "format": "binary", "contentMediaType": "image/png"}
    fields: dict[str, Any] = {name: {"type": "array", "items": png} for name in files}
    arrays = {"images", "mask", "points", "latents"}
    for name in operation.schema.model_fields.keys() - arrays:
        fields[name] = {"$ref": f"{_REF}{operation.schema.__name__}/properties/{name}"}
    return {"type": "object", "properties": fields}


def _success(operation: Operation) -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    content: dict[str, Any] = {f.value: binary for f in operation.formats}
    content[Format.JSON.value] = {"schema": _ref(bodies.ANSWERS[operation.name])}
    return {
        "description": "The answer, in the format that Accept asks for",
        "content": content,
        "headers": {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in _HEADERS.items()
        },
    }


def _rendering_parameters() -> list[dict[str, Any]]:
    found = []
    for name, schema in Rendering.model_json_schema()["properties"].items():
        plain = {k: v for k, v in schema.items() if k not in {"anyOf", "description", "title"}}
        kind: dict[str, Any] = next((b for b in schema.get("anyOf", ()) if b["type"] != "null"), {})
        found.append(parameter(name, "query", schema["description"], plain | kind))
    return found


def _header_parameters() -> list[dict[str, Any]]:
    return [
        parameter(name, "header", description, schema)
        for name, description, schema in (
            ("X-Request-Id", "Echoed; visible ASCII.", {"type": "string", "maxLength": 128}),
            (
                "X-Timeout-Ms",
                "Bounds the whole request; after that it is answered 504.",
                {"type": "integer", "minimum": 1, "maximum": MAX_TIMEOUT_MS},
            ),
            (
                "X-Priority",
                "Batch work yields to interactive work.",
                {"type": "string", "enum": ["interactive", "batch"], "default": "interactive"},
            ),
            ("If-None-Match", "Entity tags of answers that you have.", {"type": "string"}),
        )
    ]


def parameter(name: str, where: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    """One optional parameter of a route."""
    return {
        "name": name, "in": where, "required": False, "description": description, "schema": schema,
    }  # fmt: skip
