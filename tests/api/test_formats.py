"""Every operation in every format that it offers, and 406 for the others."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from service.api import npy
from service.api.formats import FORMATS, Format
from service.domain.images import contact_sheet, enlarge, from_pixels, to_pixels

RBM, COLOUR, GAN = "/v1/models/tiny-rbm", "/v1/models/colour", "/v1/models/tiny-gan"
IMAGES = from_pixels(np.random.default_rng(0).integers(0, 256, (3, 4, 4, 1), np.uint8))
MASK = [[0, 0, 1, 1]] * 4
REQUESTS: dict[str, dict[str, Any]] = {
    "sample": {"n": 5, "seed": 1},
    "interpolate": {"points": [{"seed": 1}, {"seed": 2}], "frames": 5},
    "inpaint": {"images": IMAGES.tolist(), "mask": MASK, "n": 2, "seed": 1},
    "score": {"images": IMAGES.tolist(), "explain": True},
    "encode": {"images": IMAGES.tolist()},
    "reconstruct": {"images": IMAGES.tolist()},
}
MAIN_FIELD = {
    "sample": "samples", "interpolate": "frames", "inpaint": "samples", "score": "scores",
    "encode": "features", "reconstruct": "images",
}  # fmt: skip


def fetch(
    client: httpx.Client, operation: str, accept: str, model: str = RBM, **fields: Any
) -> bytes:
    response = client.post(
        f"{model}/{operation}", json=REQUESTS[operation] | fields, headers={"Accept": accept}
    )
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == accept
    assert response.headers["vary"] == "Accept"
    return response.content


def numbers(client: httpx.Client, operation: str, model: str = RBM, **fields: Any) -> np.ndarray:
    found = json.loads(fetch(client, operation, "application/json", model, **fields))
    return np.array(found[MAIN_FIELD[operation]], np.float32)


def picture(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image)
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels


@pytest.mark.parametrize("operation", REQUESTS)
def test_npy_holds_the_float32_that_json_writes(client: httpx.Client, operation: str):
    found = npy.read(fetch(client, operation, "application/x-npy"))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, numbers(client, operation))


@pytest.mark.parametrize("operation", REQUESTS)
def test_arrow_holds_a_row_an_example(client: httpx.Client, operation: str):
    content = fetch(client, operation, "application/vnd.apache.arrow.stream")
    table = pa.ipc.open_stream(content).read_all()
    wanted = numbers(client, operation)
    name = {"score": "score", "encode": "features"}.get(operation, "sample")
    column = table[name].combine_chunks()
    found = column.to_numpy() if operation == "score" else column.to_numpy_ndarray()
    np.testing.assert_array_equal(found.reshape(wanted.shape), wanted)
    assert table["index"].to_pylist() == list(range(len(table)))
    assert table.schema.metadata[b"model"] == b"tiny-rbm@1"
    if operation != "score":
        assert json.loads(table.schema.metadata[b"shape"]) == list(wanted.shape)


def test_arrow_of_score_has_p_values_verdicts_and_heat_maps(client: httpx.Client):
    content = fetch(client, "score", "application/vnd.apache.arrow.stream")
    table = pa.ipc.open_stream(content).read_all()
    wanted = json.loads(fetch(client, "score", "application/json"))
    assert table["p_value"].to_pylist() == wanted["p_values"]
    assert table["anomalous"].to_pylist() == wanted["anomalous"]
    heat = table["heatmap"].combine_chunks().to_numpy_ndarray()
    np.testing.assert_array_equal(heat, np.array(wanted["heatmaps"], np.float32))


def test_arrow_of_inpaint_says_which_image_and_filling_a_row_is(client: httpx.Client):
    content = fetch(client, "inpaint", "application/vnd.apache.arrow.stream")
    table = pa.ipc.open_stream(content).read_all()
    assert table["image"].to_pylist() == [0, 0, 1, 1, 2, 2]
    assert table["filling"].to_pylist() == [0, 1, 0, 1, 0, 1]


def test_one_sample_as_png_is_that_image(client: httpx.Client):
    pixels = picture(fetch(client, "sample", "image/png", n=1))
    np.testing.assert_array_equal(pixels, to_pixels(numbers(client, "sample", n=1))[0])
    colour = picture(fetch(client, "sample", "image/png", COLOUR, n=1))
    np.testing.assert_array_equal(colour, to_pixels(numbers(client, "sample", COLOUR, n=1))[0])


@pytest.mark.parametrize(
    ("operation", "columns"),
    [("sample", 3), ("interpolate", 5), ("inpaint", 2), ("reconstruct", 2)],
)
def test_several_images_as_png_are_a_contact_sheet(
    client: httpx.Client, operation: str, columns: int
):
    images = numbers(client, operation)
    tiles = to_pixels(images.reshape(-1, 1, 4, 4))
    plain = picture(fetch(client, operation, "image/png", scale=1))
    np.testing.assert_array_equal(plain, contact_sheet(tiles, columns=columns))
    comfortable = picture(fetch(client, operation, "image/png"))
    np.testing.assert_array_equal(
        comfortable, contact_sheet(enlarge(tiles, scale=28), columns=columns)
    )


def test_a_grid_as_png_has_the_grid_s_shape(client: httpx.Client):
    fields = {"points": [{"seed": s} for s in range(4)], "grid": [2, 3], "frames": None}
    found = picture(fetch(client, "interpolate", "image/png", scale=1, **fields))
    assert found.shape == (2 * 4 + 2, 3 * 4 + 4, 1)


def test_the_scale_goes_in_the_query_string_too(client: httpx.Client):
    response = client.post(
        f"{RBM}/sample?scale=3", json={"seed": 1}, headers={"Accept": "image/png"}
    )
    assert picture(response.content).shape == (12, 12, 1)


@pytest.mark.parametrize("accept", ["image/gif", "image/webp"])
def test_interpolations_move(client: httpx.Client, accept: str):
    content = fetch(client, "interpolate", accept, GAN, scale=2, frame_ms=100)
    frames = to_pixels(numbers(client, "interpolate", GAN))
    with Image.open(io.BytesIO(content)) as image:
        assert image.n_frames == 5
        assert image.info["loop"] == 0
        for i, frame in enumerate(enlarge(frames, scale=2)):
            image.seek(i)
            np.testing.assert_array_equal(np.asarray(image.convert("L")), frame[:, :, 0])
            assert image.info["duration"] == 100


@pytest.mark.parametrize(
    ("operation", "names"),
    [
        ("sample", [f"000{i}.png" for i in range(5)]),
        ("interpolate", [f"000{i}.png" for i in range(5)]),
        ("inpaint", [f"000{i}-000{f}.png" for i in range(3) for f in range(2)]),
        ("reconstruct", ["0000.png", "0001.png", "0002.png"]),
    ],
)
def test_a_zip_has_one_png_an_example(client: httpx.Client, operation: str, names: list[str]):
    content = fetch(client, operation, "application/zip")
    images = to_pixels(numbers(client, operation).reshape(-1, 1, 4, 4))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == names
        for name, image in zip(names, images, strict=True):
            np.testing.assert_array_equal(picture(archive.read(name)), image)


def test_a_png_that_came_back_can_be_sent_again(client: httpx.Client):
    content = fetch(client, "sample", "image/png", n=1)
    files = [("image", ("digit.png", content, "image/png"))]
    assert client.post(f"{RBM}/score", files=files).status_code == 200


@pytest.mark.parametrize("operation", REQUESTS)
@pytest.mark.parametrize("media", Format)
def test_the_table_of_formats_is_what_is_offered(
    client: httpx.Client, operation: str, media: Format
):
    response = client.post(
        f"{RBM}/{operation}", json=REQUESTS[operation], headers={"Accept": media.value}
    )
    if media in FORMATS[operation]:
        assert response.status_code == 200
        again = client.post(
            f"{RBM}/{operation}", json=REQUESTS[operation], headers={"Accept": media.value}
        )
        assert again.content == response.content
    else:
        assert response.status_code == 406
        detail = response.json()["detail"]
        assert all(f.value in detail for f in FORMATS[operation])


def test_quality_values_and_wildcards_are_honoured(client: httpx.Client):
    def kind(accept: str) -> str:
        response = client.post(f"{RBM}/sample", json={"seed": 1}, headers={"Accept": accept})
        return response.headers["content-type"]

    assert kind("image/*") == "image/png"
    assert kind("text/html, image/png;q=0.5, */*;q=0.1") == "image/png"
    assert kind("application/json;q=0.1, application/x-npy") == "application/x-npy"
    assert kind("*/*") == "application/json"
