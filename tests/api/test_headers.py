"""Headers of every answer, and entity tags."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.test_formats import REQUESTS

RBM, GAN = "/v1/models/tiny-rbm", "/v1/models/tiny-gan"
SEEDED = ("sample", "interpolate", "inpaint")
TIMING = re.compile(
    r"decode;dur=(\d+\.\d+), queue;dur=(\d+\.\d+), compute;dur=(\d+\.\d+), encode;dur=(\d+\.\d+)"
)


@pytest.mark.parametrize("operation", REQUESTS)
def test_every_answer_of_an_operation_says_who_made_it_and_how_long_it_took(
    client: httpx.Client, operation: str
):
    response = client.post(f"{RBM}/{operation}", json=REQUESTS[operation])
    assert response.headers["x-model"] == "tiny-rbm@1"
    assert response.headers["x-model-digest"] == response.json()["digest"]
    assert re.fullmatch(r"[0-9a-f]{32}", response.headers["x-request-id"])
    timing = TIMING.fullmatch(response.headers["server-timing"])
    assert timing is not None
    decode, _, compute, encode = map(float, timing.groups())
    assert min(decode, compute, encode) > 0


def test_the_seed_is_in_a_header_sent_or_drawn(client: httpx.Client):
    assert client.post(f"{RBM}/sample", json={"seed": 3}).headers["x-seed"] == "3"
    drawn = client.post(f"{GAN}/sample")
    assert drawn.headers["x-seed"] == str(drawn.json()["seed"])
    path = client.post(f"{RBM}/interpolate", json=REQUESTS["interpolate"])
    assert path.headers["x-seed"] == "1, 2"
    assert "x-seed" not in client.post(f"{RBM}/score", json=REQUESTS["score"]).headers


def test_errors_carry_the_headers_that_are_known(client: httpx.Client):
    response = client.post(f"{RBM}/sample", json={"n": 0})
    assert response.status_code == 422
    assert response.headers["x-model"] == "tiny-rbm@1"
    assert TIMING.fullmatch(response.headers["server-timing"])
    unknown = client.post("/v1/models/nobody/sample")
    assert "x-model" not in unknown.headers
    assert unknown.headers["x-request-id"] == unknown.json()["request_id"]


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128))
@settings(max_examples=30, deadline=None)
def test_a_sane_request_id_is_echoed(client: httpx.Client, request_id: str):
    response = client.get("/livez", headers={"X-Request-Id": request_id})
    assert response.headers["x-request-id"] == request_id


@pytest.mark.parametrize("request_id", ["", "a b", "x" * 129, "é", "a\tb"])
def test_any_other_request_id_is_replaced(client: httpx.Client, request_id: str):
    headers = {b"X-Request-Id": request_id.encode()}
    response = client.get("/livez", headers=headers)
    assert re.fullmatch(r"[0-9a-f]{32}", response.headers["x-request-id"])


@pytest.mark.parametrize("operation", SEEDED)
def test_a_seeded_answer_is_not_made_again_for_a_client_that_has_it(
    client: httpx.Client, operation: str
):
    first = client.post(f"{RBM}/{operation}", json=REQUESTS[operation])
    tag = first.headers["etag"]
    assert re.fullmatch(r'"[0-9a-f]{40}"', tag)
    for header in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = client.post(
            f"{RBM}/{operation}", json=REQUESTS[operation], headers={"If-None-Match": header}
        )
        assert again.status_code == 304
        assert again.content == b""
        assert again.headers["etag"] == tag
        assert again.headers["x-model"] == "tiny-rbm@1"
        assert "compute;dur=0.000" in again.headers["server-timing"]
    other = client.post(
        f"{RBM}/{operation}", json=REQUESTS[operation], headers={"If-None-Match": '"other"'}
    )
    assert other.status_code == 200
    assert other.content == first.content


def tag_of(client: httpx.Client, path: str, accept: str = "*/*", **fields: Any) -> str | None:
    response = client.post(path, json=fields, headers={"Accept": accept})
    assert response.status_code == 200, response.text
    return response.headers.get("etag")


def test_the_tag_of_a_drawn_seed_is_the_tag_of_sending_it(client: httpx.Client):
    drawn = client.post(f"{GAN}/sample", json={"n": 2})
    assert drawn.headers["etag"] == tag_of(client, f"{GAN}/sample", n=2, seed=drawn.json()["seed"])


def test_answers_that_no_seed_decides_have_no_tag(client: httpx.Client):
    for operation in ("score", "encode", "reconstruct"):
        assert tag_of(client, f"{RBM}/{operation}", **REQUESTS[operation]) is None
    assert tag_of(client, f"{RBM}/sample", start="pool") is None


def test_whatever_changes_the_bytes_changes_the_tag(client: httpx.Client):
    tags = [
        tag_of(client, f"{RBM}/sample", seed=1),
        tag_of(client, f"{RBM}/sample", seed=2),
        tag_of(client, f"{RBM}/sample", seed=1, n=2),
        tag_of(client, f"{RBM}/sample", seed=1, values="sample"),
        tag_of(client, f"{RBM}/sample", seed=1, temperature=2.0),
        tag_of(client, f"{RBM}/sample", "image/png", seed=1),
        tag_of(client, f"{RBM}/sample", "image/png", seed=1, scale=2),
        tag_of(client, f"{GAN}/sample", seed=1),
        tag_of(client, f"{GAN}@1/sample", seed=1),
        tag_of(client, f"{RBM}/inpaint", **REQUESTS["inpaint"]),
        tag_of(client, f"{RBM}/inpaint", **REQUESTS["inpaint"] | {"mask": [[1, 0, 1, 1]] * 4}),
    ]
    assert None not in tags
    assert len(set(tags)) == len(tags)


def test_how_a_request_is_written_does_not_change_the_tag(client: httpx.Client):
    wanted = tag_of(client, f"{RBM}/sample", seed=1, n=1, values="mean")
    assert tag_of(client, f"{RBM}/sample", seed=1) == wanted
    assert tag_of(client, f"{RBM}@1/sample", seed=1, timeout_ms=5000) == wanted
    assert client.post(f"{RBM}/sample?seed=1").headers["etag"] == wanted


def test_an_invalid_request_is_refused_even_if_the_client_has_everything(client: httpx.Client):
    response = client.post(
        f"{RBM}/sample", json={"seed": 1, "n": 0}, headers={"If-None-Match": "*"}
    )
    assert response.status_code == 422
    assert "etag" not in response.headers
