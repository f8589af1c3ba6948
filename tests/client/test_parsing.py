"""What comes from a server is read without trust: problems, headers, answers, listings."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.client import BadAnswer
from service.client.catalogue import preview
from service.client.errors import problem_of, retry_after_s
from service.client.operations import sample, score
from service.client.ordering import order, status_of
from service.client.wire import Reply, received, timing_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.integers(0, 10**9 - 1))
def test_seconds_are_taken_as_they_are(seconds: int):
    assert retry_after_s({"retry-after": str(seconds)}, now=NOW) == seconds


@given(st.integers(-(10**8), 10**8), st.booleans())
def test_a_date_is_waited_for_and_one_that_is_past_is_not(offset_s: int, of_server: bool):
    server_time = NOW + timedelta(hours=5) if of_server else NOW  # its clock, not ours
    headers = {"retry-after": format_datetime(server_time + timedelta(seconds=offset_s), True)}
    if of_server:
        headers["date"] = format_datetime(server_time, True)
    assert retry_after_s(headers, now=NOW) == max(0, offset_s)


@given(st.text() | st.from_regex(r"-?\d+(\.\d+)?"), st.text())
def test_any_retry_after_is_a_wait_or_none(value: str, date: str):
    found = retry_after_s({"retry-after": value, "date": date}, now=NOW)
    assert found is None or (found >= 0 and math.isfinite(found))


@given(st.integers(400, 599), st.binary() | JSONS.map(lambda j: repr(j).encode()))
def test_any_body_makes_an_error_with_its_status_and_a_sentence(status: int, content: bytes):
    error = problem_of(status, {}, content)
    assert error.status == status
    assert error.detail
    assert error.detail.isprintable()


@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("title", "detail", "type", "request_id", "errors"), JSONS)
    ),
)
def test_a_problem_with_members_of_any_kind_is_read(document: dict):
    try:
        content = orjson.dumps(document)
    except TypeError:  # lone surrogates are no JSON
        return
    error = problem_of(422, {"x-request-id": "from-header"}, content)
    assert isinstance(error.detail, str)
    assert all(isinstance(field.pointer, str) for field in error.errors)


def test_a_problem_says_all_that_the_server_said():
    document = {
        "type": "urn:x", "title": "T", "status": 422, "detail": "d", "request_id": "r",
        "errors": [{"pointer": "/n", "detail": "too many"}],
    }  # fmt: skip
    error = problem_of(422, {}, orjson.dumps(document))
    assert (error.type, error.title, str(error), error.request_id) == ("urn:x", "T", "d", "r")
    assert (error.errors[0].pointer, error.errors[0].detail) == ("/n", "too many")


def test_deep_nesting_is_no_way_to_crash_the_client():
    assert problem_of(500, {}, b"[" * 100_000).status == 500


@given(st.binary())
@pytest.mark.parametrize("request_", [sample("m"), sample("m", diagnostics=False),
                                      score("m", [[0.0]]), order("o"), preview("m")])  # fmt: skip
def test_any_bytes_are_an_answer_or_a_bad_one(request_, content: bytes):
    with pytest.raises(BadAnswer):
        received(request_, Reply(200, {}, content))


@given(JSONS)
@example(3.41e38)
def test_any_json_is_an_answer_or_a_bad_one(document):
    try:
        content = orjson.dumps({"samples": document, "seed": 1})
    except TypeError:
        return
    with suppress(BadAnswer):
        received(sample("m"), Reply(200, {}, content))


@given(st.text())
def test_any_server_timing_is_read(header: str):
    timing_of(header)


def test_server_timing_is_read_by_phase():
    timing = timing_of('decode;dur=0.5, queue;dur=x, compute;desc="a";dur=2.25, other;dur=9')
    assert (timing.decode_ms, timing.queue_ms, timing.compute_ms) == (0.5, 0.0, 2.25)


def listing(**changes: object) -> dict:
    file = {"name": "a.parquet", "bytes": 3, "sha256": "0" * 64, "rows": 1} | changes
    return {"id": "o", "state": "done", "files": [file]}


@pytest.mark.parametrize(
    "name", ["../a", "/etc/passwd", "a/../../b", "..", "", ".", "a\\b", "c:a", "a\0b"]
)
def test_a_file_that_leads_out_of_its_folder_is_refused(name: str):
    with pytest.raises(ValueError, match="leads out of its folder"):
        status_of(listing(name=name))


def test_a_digest_that_is_none_is_refused():
    with pytest.raises(ValueError, match="no sha256"):
        status_of(listing(sha256="../x"))
    assert status_of(listing()).files[0].size_bytes == 3
