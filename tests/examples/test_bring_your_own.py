"""A public architecture, exported without this project: all that its functions allow works."""

import io
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from service.imports import add_generator
from tests.api.servers import served
from tests.published import ROOT

SCRIPT = ROOT / "examples" / "bring_your_own.py"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--out", str(folder), "--width", "4"],
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    assert "dcgan.onnx" in done.stdout
    for name in ("dcgan", "conditional-dcgan"):
        content = (folder / f"{name}.onnx").read_bytes()
        made = add_generator(content, store=folder / "store", name=name, version=1)
        assert made.manifest.data.shape == (3, 64, 64)
        assert made.manifest.latent.size == 100
    return folder / "store"


@pytest.fixture(scope="module")
def client(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with served(models_store=store, data_dir=tmp_path_factory.mktemp("data")) as found:
        yield found


def image(answer, *row: int) -> np.ndarray:
    return np.array(answer.json()["samples"], np.float32)[row]


def test_it_is_listed_with_what_it_can_do(client):
    models = {m["name"]: m for m in client.get("/v1/models").json()["models"]}
    assert models["dcgan"]["state"] == "ready"
    assert models["dcgan"]["capabilities"] == ["sample", "interpolate"]
    assert models["conditional-dcgan"]["capabilities"] == ["sample", "interpolate"]


def test_samples_are_in_data_space_and_a_row_keeps_its_bytes(client):
    url = "/v1/models/dcgan/sample"
    many, few = (client.post(url, json={"n": n, "seed": 5}) for n in (5, 2))
    pixels = image(many)
    assert pixels.shape == (5, 3, 64, 64)
    assert 0 <= pixels.min() < pixels.max() <= 1
    assert np.array_equal(pixels[:2], image(few))
    given = client.post(url, json={"latents": np.zeros((1, 100)).tolist()})
    assert given.status_code == 200
    narrow = client.post(url, json={"n": 2, "seed": 5, "truncation": 0.5})
    assert not np.array_equal(image(narrow), image(few))


def test_every_format_of_an_image_is_there(client):
    url, body = "/v1/models/dcgan/sample", {"n": 4, "seed": 1}
    png = client.post(url, json=body, headers={"Accept": "image/png"})
    with Image.open(io.BytesIO(png.content)) as sheet:
        assert sheet.mode == "RGB"
    npy = client.post(url, json=body, headers={"Accept": "application/x-npy"})
    assert np.load(io.BytesIO(npy.content)).shape == (4, 3, 64, 64)


def test_a_conditional_one_makes_the_class_that_is_asked_for(client):
    url = "/v1/models/conditional-dcgan/sample"
    asked = client.post(url, json={"n": 2, "seed": 3, "labels": [7, 1]})
    same = client.post(url, json={"n": 1, "seed": 3, "labels": [7]})
    other = client.post(url, json={"n": 1, "seed": 3, "labels": [8]})
    assert np.array_equal(image(asked)[:1], image(same))
    assert not np.array_equal(image(same), image(other))
    beyond = client.post(url, json={"n": 1, "labels": [10]})
    assert beyond.status_code == 422
    assert "between 0 and 9" in beyond.text


def test_a_path_between_two_seeds_is_an_animation(client):
    body = {"points": [{"seed": 1}, {"seed": 2}], "frames": 5}
    made = client.post("/v1/models/dcgan/interpolate", json=body, headers={"Accept": "image/gif"})
    with Image.open(io.BytesIO(made.content)) as gif:
        assert gif.n_frames == 5


def test_what_its_functions_do_not_allow_is_refused_with_what_they_do(client):
    blank = np.zeros((1, 3, 64, 64)).tolist()
    for operation in ("score", "encode", "reconstruct"):
        answer = client.post(f"/v1/models/dcgan/{operation}", json={"images": blank})
        assert answer.status_code == 422
        assert "sample, interpolate" in answer.json()["detail"]


def test_an_order_is_delivered_balanced(client):
    order = {
        "model": "conditional-dcgan",
        "n": 20,
        "seed": 1,
        "labels": "balanced",
        "format": "npz",
    }
    made = client.post("/v1/augmentations", json=order)
    assert made.status_code == 202, made.text
    where = f"/v1/augmentations/{made.json()['id']}"
    for _ in range(600):
        state = client.get(where).json()
        if state["state"] in {"done", "failed"}:
            break
        time.sleep(0.05)
    assert state["state"] == "done", state
    assert set(state["delivered"].values()) == {2}
