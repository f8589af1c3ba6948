"""The list of models, a model's page, its card and preview."""

from __future__ import annotations

import httpx
import pytest

from service.api import bodies


def test_the_list_has_every_package_ready_or_failed(client: httpx.Client):
    found = client.get("/v1/models").json()
    bodies.ModelList.model_validate(found)
    listed = {f"{m['name']}@{m['version']}": m for m in found["models"]}
    assert list(listed) == ["broken@1", "colour@1", "tiny-gan@1", "tiny-gan@2", "tiny-rbm@1"]
    assert listed["broken@1"]["state"] == "failed"
    assert "sha256" in listed["broken@1"]["reason"]
    gan = listed["tiny-gan@1"]
    assert gan["state"] == "ready"
    assert gan["data"] == {"kind": "image", "shape": [1, 4, 4]}
    assert gan["latent"] == {"size": 4, "prior": "normal"}
    assert gan["device"] == "cpu"
    assert gan["runtime"].startswith("onnxruntime ")
    assert "latent" not in listed["tiny-rbm@1"]


def test_the_network_s_own_range_is_no_client_s_business(client: httpx.Client):
    page = client.get("/v1/models/colour").json()
    assert page["data"] == {"kind": "image", "shape": [3, 4, 5]}


@pytest.mark.parametrize("name", ["tiny-gan", "tiny-rbm", "colour", "broken"])
def test_a_page_tells_what_there_is_to_know(client: httpx.Client, name: str):
    response = client.get(f"/v1/models/{name}")
    page = response.json()
    bodies.ModelPage.model_validate(page)
    assert page["limits"] == {"body_bytes": 2**26, "rows": 64, "sweeps": 500, "frames": 32}
    assert set(page["operations"]) == set(page["capabilities"])
    assert page["functions"]
    assert response.headers["x-model"].startswith(name)
    assert "file" not in str(page["functions"])


def test_a_page_says_what_is_promised_of_seeds_and_how_paths_run(client: httpx.Client):
    rbm, gan = (client.get(f"/v1/models/tiny-{k}").json() for k in ("rbm", "gan"))
    assert "mean-field" in rbm["interpolation"]
    assert "latent" in gan["interpolation"]
    assert "onnxruntime" in rbm["seeds"]
    assert rbm["scores"] == [
        {
            "method": "free_energy",
            "heatmap": True,
            "n_calibration": 99,
            "calibrated_on": "made up",
        }
    ]


def test_quality_comes_with_protocol_and_floor(client: httpx.Client):
    (figure,) = client.get("/v1/models/colour").json()["quality"]
    assert figure["protocol"] == "made up"
    assert figure["floor"] == 0.5


def test_a_name_alone_is_the_newest_version(client: httpx.Client):
    assert client.get("/v1/models/tiny-gan").json()["version"] == 2
    assert client.get("/v1/models/tiny-gan@1").json()["version"] == 1
    assert client.get("/v1/models/nobody").status_code == 404


@pytest.mark.parametrize(
    ("what", "kind", "start"),
    [("card", "text/markdown; charset=utf-8", b"# colour"), ("preview", "image/png", b"\x89PNG")],
)
def test_card_and_preview_come_as_they_are_with_a_tag(
    client: httpx.Client, what: str, kind: str, start: bytes
):
    response = client.get(f"/v1/models/colour/{what}")
    assert response.headers["content-type"] == kind
    assert response.content.startswith(start)
    again = client.get(
        f"/v1/models/colour/{what}", headers={"If-None-Match": response.headers["etag"]}
    )
    assert again.status_code == 304


def test_a_package_without_a_card_says_so(client: httpx.Client):
    response = client.get("/v1/models/tiny-gan/card")
    assert response.status_code == 404
    assert response.json()["detail"] == "tiny-gan@2 has no card"
    assert client.get("/v1/models/broken/card").status_code == 503
