"""The OpenAPI document: whole, true to the limits, and its examples work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.api.formats import FORMATS
from service.api.openapi import EXAMPLES
from tests.api.packages import write_digits, write_eights
from tests.api.servers import served

OPERATIONS = list(FORMATS)


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> dict[str, Any]:
    return client.get("/openapi.json").json()


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def test_every_reference_leads_somewhere(document: dict[str, Any]):
    for reference in set(references(document)):
        node: Any = document
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


def test_every_path_is_described(document: dict[str, Any]):
    operations = {f"/v1/models/{{model}}/{name}" for name in OPERATIONS}
    others = {
        "/v1/models", "/v1/models/{model}", "/v1/models/{model}/card",
        "/v1/models/{model}/preview", "/livez", "/readyz", "/metrics", "/v1/augmentations",
        "/v1/augmentations/{order}", "/v1/augmentations/{order}/events",
        "/v1/augmentations/{order}/manifest", "/v1/augmentations/{order}/files/{file}",
    }  # fmt: skip
    assert set(document["paths"]) == operations | others


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_has_three_bodies_all_its_formats_headers_and_problems(
    document: dict[str, Any], operation: str
):
    found = document["paths"][f"/v1/models/{{model}}/{operation}"]["post"]
    assert set(found["requestBody"]["content"]) == {
        "application/json", "application/x-npy", "multipart/form-data",
    }  # fmt: skip
    assert set(found["responses"]["200"]["content"]) == set(FORMATS[operation])
    assert "X-Model-Digest" in found["responses"]["200"]["headers"]
    for status in ("401", "404", "406", "413", "415", "422", "429", "500", "503", "504"):
        content = found["responses"][status]["content"]
        assert content == {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
        }
    names = {p["name"] for p in found["parameters"]}
    assert {"model", "scale", "X-Request-Id", "X-Timeout-Ms", "X-Priority"} <= names
    assert found["operationId"] == operation


def test_the_operator_s_limits_are_in_the_document(document: dict[str, Any]):
    schemas = document["components"]["schemas"]

    def maximum(schema: str, field: str) -> int:
        node = schemas[schema]["properties"][field]
        return next(b["maximum"] for b in node.get("anyOf", [node]) if "maximum" in b)

    assert maximum("SampleRequest", "n") == 64
    assert maximum("SampleRequest", "burn_in") == 500
    assert maximum("InterpolateRequest", "frames") == 32
    assert maximum("AugmentationRequest", "n") == 1_000_000_000
    assert "x-maximum-setting" not in str(schemas)


@pytest.mark.parametrize("operation", EXAMPLES)
def test_the_examples_work(example_client: httpx.Client, operation: str):
    model = "eights" if operation == "classify" else "digits"
    response = example_client.post(f"/v1/models/{model}/{operation}", json=EXAMPLES[operation])
    assert response.status_code == 200, response.text


@pytest.fixture(scope="module")
def example_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Models of 28 × 28, for which the examples are written."""
    store: Path = tmp_path_factory.mktemp("digits")
    write_digits(store)
    write_eights(store)
    with served(models_store=store) as client:
        yield client


def test_with_keys_the_document_asks_for_them(api_store: Path):
    with served(models_store=api_store, api_keys=("k",)) as client:
        document = client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert document["paths"]["/v1/models"]["get"]["security"] == [{"key": []}]
    assert "security" not in document["paths"]["/livez"]["get"]
