"""Models of tables over HTTP: rows by column, nulls as holes, Arrow and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from tests.api.servers import served
from tests.tables import COLUMNS, write_tiny_table

MODEL = "/v1/models/tiny-table"
ARROW = "application/vnd.apache.arrow.stream"
ROW = {"size": 12, "weight": 0.5, "grade": 2, "kind": "owl", "home": "tree"}


@pytest.fixture(scope="module", params=[True, False], ids=["fast", "plain"])
def tables(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[httpx.Client]:
    """A client of a server with a model of a table, with the fast lane and without."""
    store: Path = tmp_path_factory.mktemp("table-store")
    write_tiny_table(store)
    with served(models_store=store, fast_lane=request.param, max_rows=64) as client:
        yield client


def post(client: httpx.Client, operation: str, body: dict, **headers: str) -> httpx.Response:
    return client.post(f"{MODEL}/{operation}", json=body, headers=headers)


def refused(response: httpx.Response) -> dict[str, str]:
    """Pointers and details of a 422."""
    assert response.status_code == 422, response.text
    problem = response.json()
    return {e["pointer"]: e["detail"] for e in problem.get("errors", [])} or {"": problem["detail"]}


def test_samples_are_rows_keyed_by_column(tables):
    found = post(tables, "sample", {"n": 5, "seed": 1}).json()
    assert found["shape"] == [5, 5]
    assert [tuple(row) for row in found["samples"]] == [COLUMNS] * 5
    assert all(isinstance(row["grade"], int) for row in found["samples"])


def test_row_i_is_the_same_whatever_n_is(tables):
    few = post(tables, "sample", {"n": 3, "seed": 9}).json()["samples"]
    many = post(tables, "sample", {"n": 64, "seed": 9}).json()["samples"]
    assert many[:3] == few
    assert len({str(row) for row in many}) > 40


def test_the_model_says_what_its_columns_hold(tables):
    (found,) = tables.get("/v1/models").json()["models"]
    assert found["data"]["kind"] == "table"
    assert found["data"]["label_column"] == "kind"
    assert found["data"]["columns"][0] == {
        "name": "size", "kind": "numeric", "integer": True, "decimals": 0, "minimum": 0,
        "maximum": 100, "nullable": True,
    }  # fmt: skip
    assert found["data"]["columns"][3] == {
        "name": "kind", "kind": "categorical", "categories": ["cat", "dog", "owl"],
        "nullable": False,
    }  # fmt: skip
    assert found["capabilities"] == ["sample", "inpaint"]
    page = tables.get(MODEL).json()
    assert page["operations"]["sample"] == ["application/json", ARROW, "text/csv"]


def test_csv_has_a_header_and_nothing_where_a_value_is_null(tables):
    rows = post(tables, "sample", {"n": 30, "seed": 4}).json()["samples"]
    answer = post(tables, "sample", {"n": 30, "seed": 4}, Accept="text/csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    read = list(csv.DictReader(io.StringIO(answer.text)))
    assert read == [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows]
    assert any(row["size"] is None for row in rows)


def test_arrow_has_the_columns_types_and_nulls(tables):
    rows = post(tables, "sample", {"n": 30, "seed": 4}).json()["samples"]
    answer = post(tables, "sample", {"n": 30, "seed": 4}, Accept=ARROW)
    table = pa.ipc.open_stream(answer.content).read_all()
    assert table.to_pylist() == rows
    assert [str(kind) for kind in table.schema.types] == [
        "int64", "double", "int64", "string", "string",
    ]  # fmt: skip
    assert table.schema.metadata[b"model"] == b"tiny-table@1"
    assert table.schema.metadata[b"seed"] == b"4"


@pytest.mark.parametrize("accept", ["application/x-npy", "image/png", "application/zip"])
def test_formats_of_images_are_not_acceptable(tables, accept):
    answer = post(tables, "sample", {"n": 1}, Accept=accept)
    assert answer.status_code == 406
    assert "text/csv" in answer.json()["detail"]


def test_labels_and_conditions_are_kept_in_every_row(tables):
    asked = {"n": 8, "seed": 2, "labels": "dog", "conditions": {"grade": 3, "home": None}}
    rows = post(tables, "sample", asked).json()["samples"]
    assert {(row["kind"], row["grade"], row["home"]) for row in rows} == {("dog", 3, None)}
    each = post(tables, "sample", {"n": 3, "seed": 2, "labels": ["cat", 1, "owl"]}).json()
    assert [row["kind"] for row in each["samples"]] == ["cat", "dog", "owl"]


def test_the_same_latents_give_the_same_rows(tables):
    asked = {"latents": [[0.1] * 6, [1.0] * 6]}
    one, other = (post(tables, "sample", asked).json() for _ in range(2))
    assert one["samples"] == other["samples"]
    assert one["seed"] is None


def test_null_marks_a_hole_and_known_values_come_back(tables):
    asked = ROW | {"size": None, "home": None}
    found = post(tables, "inpaint", {"rows": [asked, asked | {"kind": "cat"}], "n": 3, "seed": 5})
    answer = found.json()
    assert answer["shape"] == [2, 3, 5]
    assert answer["hole_fraction"] == 0.4
    for filled, kind in zip(answer["samples"], ("owl", "cat"), strict=True):
        for row in filled:
            known = {k: v for k, v in row.items() if k not in {"size", "home"}}
            assert known == {"weight": 0.5, "grade": 2, "kind": kind}
            assert row["size"] is not None
            assert row["home"] is not None


def test_filling_j_of_a_row_does_not_depend_on_how_many_there_are(tables):
    asked = ROW | {"weight": None}
    few = post(tables, "inpaint", {"rows": [asked], "n": 2, "seed": 5}).json()["samples"][0]
    many = post(tables, "inpaint", {"rows": [asked] * 2, "n": 9, "seed": 5}).json()["samples"]
    assert many[0][:2] == few
    assert many[1] != many[0]


def test_fillings_in_csv_say_of_which_row_they_are(tables):
    asked = {"rows": [ROW | {"weight": None}] * 2, "n": 2, "seed": 5}
    answer = post(tables, "inpaint", asked, Accept="text/csv")
    read = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(r["_row"], r["_filling"]) for r in read] == [
        ("0", "0"), ("0", "1"), ("1", "0"), ("1", "1"),
    ]  # fmt: skip


def test_a_seeded_answer_has_a_tag_that_the_seed_decides(tables):
    asked = {"rows": [ROW | {"weight": None}]}
    drawn = post(tables, "inpaint", asked)
    again = post(tables, "inpaint", asked | {"seed": int(drawn.headers["x-seed"])})
    assert again.headers["etag"] == drawn.headers["etag"]
    assert again.content == drawn.content
    tag = drawn.headers["etag"]
    asked["seed"] = int(drawn.headers["x-seed"])
    assert post(tables, "inpaint", asked, **{"If-None-Match": tag}).status_code == 304


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": 12.5}, "size=12.5 is not a whole number"),
        ({"size": 101}, "size=101 is not between 0 and 100"),
        ({"weight": "heavy"}, "weight=heavy is not a number"),
        ({"weight": True}, "weight=True is not a number"),
        ({"kind": "cow"}, "'cow' is no category of 'kind'; they are cat, dog, owl"),
        ({"kind": 1}, "'1' is no category of 'kind'"),
        ({"colour": "red"}, "'colour' is no column; the columns are size, weight"),
    ],
)
def test_a_value_that_its_column_cannot_hold_is_pointed_at(tables, change, words):
    asked = ROW | {"home": None} | change
    (name,) = change
    found = refused(post(tables, "inpaint", {"rows": [ROW | {"home": None}, asked]}))
    assert words in found[f"/rows/1/{name}"]


@pytest.mark.parametrize(
    ("body", "pointer", "words"),
    [
        ({}, "/rows", "rows is missing"),
        ({"rows": []}, "/rows", "not a list of rows"),
        ({"rows": [3]}, "/rows/0", "a row is an object"),
        ({"rows": [ROW]}, "/rows/0", "no hole: write null"),
        ({"rows": [dict.fromkeys(COLUMNS)]}, "/rows/0", "nothing but holes: use sample"),
        ({"rows": [{"size": 1}]}, "/rows/0/home", "column 'home' is missing; write null"),
        ({"images": [[0.0]]}, "/images", "leave images out, send rows"),
        ({"rows": [ROW], "mask": [[1]]}, "/mask", "null marks a hole"),
        ({"rows": [ROW], "steps": 3}, "/steps", "leave steps out"),
        ({"rows": [ROW | {"home": None}] * 9, "n": 8}, "/n", "72 fillings, which exceeds 64"),
        ({"rows": [ROW] * 65}, "/rows", "65 rows exceed 64"),
    ],
)
def test_rows_that_cannot_be_filled_are_refused(tables, body, pointer, words):
    assert words in refused(post(tables, "inpaint", body))[pointer]


@pytest.mark.parametrize(
    ("body", "pointer", "words"),
    [
        ({"conditions": {"kind": "cow"}}, "/conditions/kind", "no category"),
        ({"conditions": {"kind": None}}, "/conditions/kind", "never null"),
        ({"conditions": {"age": 3}}, "/conditions/age", "no column"),
        ({"conditions": [1]}, "/conditions", "not an object"),
        ({"labels": "cow"}, "/labels", "'cow' is no class; the classes are cat, dog, owl"),
        ({"labels": 7}, "/labels/0", "not between 0 and 2"),
        ({"labels": "cat", "conditions": {"kind": "dog"}}, "/labels", "both speak of 'kind'"),
        ({"latents": [[1.0]]}, "/latents", "are not [n, 6]"),
        ({"burn_in": 4}, "/burn_in", "has no Markov chain"),
        ({"n": 65}, "/n", "exceeds 64"),
    ],
)
def test_samples_that_cannot_be_drawn_are_refused(tables, body, pointer, words):
    assert words in refused(post(tables, "sample", body))[pointer]


@pytest.mark.parametrize("operation", ["score", "encode", "interpolate", "classify"])
def test_what_the_model_lacks_is_said_with_what_it_has(tables, operation):
    answer = post(tables, operation, {"rows": [ROW]})
    assert "it can sample, inpaint" in refused(answer)[""]


def test_a_binary_array_is_no_row(tables):
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, np.zeros((1, 4, 4), np.float32))
    answer = tables.post(
        f"{MODEL}/inpaint", content=buffer.getvalue(),
        headers={"Content-Type": "application/x-npy"},
    )  # fmt: skip
    assert "send rows" in refused(answer)["/images"]


def test_images_models_refuse_rows_and_conditions(client):
    rows = client.post("/v1/models/tiny-gan/score", json={"rows": [ROW]})
    assert "takes images, not rows" in refused(rows)["/rows"]
    conditions = client.post("/v1/models/tiny-gan/sample", json={"conditions": {"kind": "cat"}})
    assert "which have no columns" in refused(conditions)["/conditions"]
    missing = client.post("/v1/models/tiny-gan/score", json={})
    assert refused(missing)["/images"] == "images is missing; it is required"
