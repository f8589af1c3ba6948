"""Models of tables: rows go out in place of images, and come back in place of arrays."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest

from tests.client.either import Either
from tests.client.rude import answer, rude

ROWS = [{"age": 41, "job": None}, {"age": 7.5, "job": "pupil"}]
FILLED = [[{"age": 41, "job": "cook"}], [{"age": 7.5, "job": "pupil"}]]
SCORED = {
    "scores": [0.5, 1.5], "p_values": None, "anomalous": None, "threshold": None, "alpha": 0.05,
    "method": "m", "n_calibration": 0,
}  # fmt: skip


async def test_rows_are_sampled_filled_and_scored(connect: Callable[..., Either]):
    async with rude(
        answer(orjson.dumps({"seed": 1, "samples": ROWS}), X_Model="adult@1"),
        answer(orjson.dumps({"seed": 1, "samples": FILLED, "hole_fraction": 0.25})),
        answer(orjson.dumps(SCORED)),
        answer(orjson.dumps({"shape": [2, 3], "features": [[0, 1, 2]] * 2})),
    ) as server:
        client = connect(server.url)
        found = await client.sample("adult", n=2, seed=1)
        filled = await client.inpaint("adult", rows=ROWS, seed=1)
        scored = await client.score("adult", rows=ROWS)
        encoded = await client.encode("adult", rows=ROWS)
    assert found.rows == ROWS
    assert filled.rows == FILLED
    assert scored.scores.tolist() == [0.5, 1.5]
    assert encoded.array.shape == (2, 3)
    assert orjson.loads(server.heard[1].body) == {"rows": ROWS, "seed": 1}
    with pytest.raises(TypeError, match=r"adult@1 is a model of tables.*`\.rows`"):
        found.images()


async def test_images_have_no_rows(client: Either):
    found = await client.sample("tiny-gan")
    with pytest.raises(TypeError, match=r"tiny-gan@1 is a model of images.*`\.array`"):
        _ = found.rows


async def test_rows_and_fillings_become_data_frames(connect: Callable[..., Either]):
    async with rude(
        answer(orjson.dumps({"seed": 1, "samples": ROWS})),
        answer(orjson.dumps({"seed": 1, "samples": FILLED, "hole_fraction": 0.25})),
    ) as server:
        client = connect(server.url)
        found = (await client.sample("adult", n=2, conditions={"job": None})).to_pandas()
        filled = (await client.inpaint("adult", rows=ROWS)).to_pandas()
    assert found["age"].tolist() == [41, 7.5]
    assert list(filled.columns) == ["_row", "_filling", "age", "job"]
    assert filled["job"].tolist() == ["cook", "pupil"]
    assert orjson.loads(server.heard[0].body) == {"n": 2, "conditions": {"job": None}}


async def test_a_real_model_of_a_table_answers_in_rows(connect: Callable[..., Either], server: str):
    client = connect(server)
    found = await client.sample("tiny-table", n=3, seed=2, conditions={"grade": 3})
    assert [row["grade"] for row in found.rows] == [3, 3, 3]
    holed = [row | {"weight": None} for row in found.rows]
    filled = await client.inpaint("tiny-table", rows=holed, n=2, seed=2)
    assert filled.to_pandas().shape == (6, 7)
