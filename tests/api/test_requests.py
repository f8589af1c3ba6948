"""The three kinds of body, and the many ways of being wrong."""

from __future__ import annotations

import base64
import io
import json
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.api import bodies, npy
from service.api.encoding import png_bytes
from service.domain.images import from_pixels

GAN, RBM, COLOUR = "/v1/models/tiny-gan", "/v1/models/tiny-rbm", "/v1/models/colour"
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 1), np.uint8)
IMAGES = from_pixels(PIXELS)
PNGS = [png_bytes(p) for p in PIXELS]
MASK = np.array([[0, 0, 1, 1]] * 4, np.float32)
MASK_PNG = png_bytes((MASK * 255).astype(np.uint8)[..., np.newaxis])
NPY = {"Content-Type": "application/x-npy"}


def b64(content: bytes) -> dict[str, str]:
    return {"png": base64.b64encode(content).decode()}


def refused(response: httpx.Response, pointer: str | None = None) -> dict[str, Any]:
    """The problem of a 422 whose first error is at `pointer`."""
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    bodies.Problem.model_validate(problem)
    if pointer is not None:
        assert problem["errors"][0]["pointer"] == pointer, problem
    return problem


def test_every_way_of_sending_images_is_the_same_request(client: httpx.Client):
    def post(**how: Any) -> Any:
        response = client.post(f"{RBM}/score", **how)
        assert response.status_code == 200, response.text
        return response.json()

    lists = IMAGES.tolist()
    wanted = post(json={"images": lists})
    assert post(json={"images": IMAGES[:, 0].tolist()}) == wanted
    assert post(json={"images": [b64(p) for p in PNGS]}) == wanted
    assert post(json={"images": [b64(PNGS[0]), lists[1], IMAGES[2, 0].tolist()]}) == wanted
    assert post(content=npy.write(IMAGES), headers=NPY) == wanted
    assert post(content=npy.write(IMAGES[:, 0]), headers=NPY) == wanted
    assert post(files=[("image", ("a.png", p, "image/png")) for p in PNGS]) == wanted
    assert post(files=[("image", (None, p)) for p in PNGS]) == wanted


def test_one_image_needs_no_batch_axis(client: httpx.Client):
    wanted = client.post(f"{RBM}/score", json={"images": IMAGES[:1].tolist()}).json()
    for alone in (IMAGES[0].tolist(), IMAGES[0, 0].tolist(), b64(PNGS[0])):
        assert client.post(f"{RBM}/score", json={"images": alone}).json() == wanted


def test_a_png_may_come_as_a_data_url(client: httpx.Client):
    url = "data:image/png;base64," + base64.b64encode(PNGS[0]).decode()
    assert client.post(f"{RBM}/score", json={"images": {"png": url}}).status_code == 200


def test_numbers_of_any_plain_type_are_taken_when_they_are_in_range(client: httpx.Client):
    binary = (IMAGES > 0.5).astype(np.float32)
    wanted = client.post(f"{RBM}/score", content=npy.write(binary), headers=NPY).json()
    for dtype in (np.float64, np.float16, np.uint8, np.int64, np.bool_):
        body = npy.write(binary.astype(dtype))
        assert client.post(f"{RBM}/score", content=body, headers=NPY).json() == wanted


def test_with_npy_every_other_field_goes_in_the_query_string(client: httpx.Client):
    fields = {"alpha": 0.2, "explain": True, "method": "free_energy"}
    wanted = client.post(f"{RBM}/score", json={"images": IMAGES.tolist(), **fields}).json()
    found = client.post(
        f"{RBM}/score?alpha=0.2&explain=true&method=free_energy",
        content=npy.write(IMAGES),
        headers=NPY,
    )
    assert found.json() == wanted
    assert found.json()["alpha"] == 0.2


def test_npy_is_latents_to_sample_and_points_to_interpolate(client: httpx.Client):
    latents = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)
    body = npy.write(latents)
    found = client.post(f"{GAN}/sample?truncation=0.5", content=body, headers=NPY).json()
    wanted = client.post(
        f"{GAN}/sample", json={"latents": latents.tolist(), "truncation": 0.5}
    ).json()
    assert found["samples"] == wanted["samples"]
    path = client.post(f"{GAN}/interpolate?frames=5&method=lerp", content=body, headers=NPY).json()
    np.testing.assert_allclose(np.array(path["latents"])[[0, 2, 4]], latents, rtol=1e-6)
    through = client.post(f"{GAN}/interpolate?frames=3", content=npy.write(IMAGES), headers=NPY)
    assert through.json()["shape"][0] == 3


def test_a_mask_goes_in_the_query_string_as_json(client: httpx.Client):
    mask = orjson.dumps(MASK.astype(int).tolist()).decode()
    found = client.post(
        f"{RBM}/inpaint",
        params={"mask": mask, "seed": 3},
        content=npy.write(IMAGES),
        headers=NPY,
    )
    wanted = client.post(
        f"{RBM}/inpaint", json={"images": IMAGES.tolist(), "mask": MASK.tolist(), "seed": 3}
    )
    assert found.json()["samples"] == wanted.json()["samples"]


def test_a_form_carries_images_a_mask_and_fields(client: httpx.Client):
    wanted = client.post(
        f"{RBM}/inpaint",
        json={"images": IMAGES.tolist(), "mask": MASK.tolist(), "n": 2, "seed": 5},
    ).json()
    files = [("image", ("x.png", p, "image/png")) for p in PNGS]
    files.append(("mask", ("m.png", MASK_PNG, "image/png")))
    found = client.post(f"{RBM}/inpaint", files=files, data={"n": "2", "seed": "5"})
    assert found.json()["samples"] == wanted["samples"]
    inverse = png_bytes(((1 - MASK) * 255).astype(np.uint8)[..., np.newaxis])
    files[-1] = ("mask", ("m.png", inverse, "image/png"))
    other = client.post(
        f"{RBM}/inpaint",
        files=files,
        data={"n": "2", "seed": "5", "mask_convention": "0=fill"},
    )
    assert other.json()["samples"] == wanted["samples"]


def test_a_form_may_carry_a_mask_for_each_image(client: httpx.Client):
    files = [("image", ("x.png", p, "image/png")) for p in PNGS]
    files += [("mask", ("m.png", MASK_PNG, "image/png"))] * 3
    assert client.post(f"{RBM}/inpaint", files=files).json()["shape"][0] == 3


def test_images_of_a_form_are_the_points_of_a_path(client: httpx.Client):
    files = [("image", ("x.png", p, "image/png")) for p in PNGS]
    found = client.post(f"{GAN}/interpolate", files=files, data={"frames": "5"})
    assert found.json()["shape"] == [5, 1, 4, 4]


def test_colour_pngs_are_read_by_colour_models(client: httpx.Client):
    pixels = np.random.default_rng(2).integers(0, 256, (4, 5, 3), np.uint8)
    lists = from_pixels(pixels[np.newaxis]).tolist()
    wanted = client.post(f"{COLOUR}/classify", json={"images": lists}).json()
    assert client.post(f"{COLOUR}/classify", json={"images": b64(png_bytes(pixels))}).json() == (
        wanted
    )


@pytest.mark.parametrize(
    ("fields", "pointer", "words"),
    [
        ({"n": 5000}, "/n", "n=5000 exceeds 64; order it with POST /v1/augmentations"),
        ({"n": 0}, "/n", "n=0 is below 1"),
        ({"n": "3"}, "/n", 'n="3" is not a whole number'),
        ({"n": True}, "/n", "n=true is not a whole number"),
        ({"n": 1.5}, "/n", "n=1.5 is not a whole number"),
        ({"seed": -1}, "/seed", "seed=-1 is below 0"),
        ({"seed": 2**53}, "/seed", "exceeds 9007199254740991"),
        ({"sed": 1}, "/sed", "unknown field 'sed'; did you mean 'seed'?"),
        ({"a/b~c": 1}, "/a~1b~0c", "unknown field"),
        ({"truncation": 0}, "/truncation", "is not above 0"),
        ({"truncation": 1.01}, "/truncation", "exceeds 1"),
        ({"values": "men"}, "/values", "did you mean 'mean'?"),
        ({"timeout_ms": 0}, "/timeout_ms", "is below 1"),
        ({"temperature": 0.5}, "/temperature", "no Markov chain"),
        ({"latents": [[1, 2, 3]]}, "/latents", "are not [n, 4]"),
        ({"latents": []}, "/latents", "are not [n, 4]"),
        ({"latents": [[1, 2, 3, 4], [1, 2, 3]]}, "/latents/1", "not all of one length"),
        ({"latents": [[1, 2, 3, 4], [1, 2, 3, 1e300]]}, "/latents/1", "too large"),
        ({"latents": [[1, 2, 3, 4], [1, 2, 3, "x"]]}, "/latents/1", "not numbers"),
        ({"latents": "x"}, "/latents", "a string is not an array"),
        ({"latents": [[1, 2, 3, 4]], "n": 2}, "/n", "n=2, but there are 1 latents"),
        ({"latents": [[1, 2, 3, 4]], "seed": 1}, None, "seed"),
        ({"labels": [0]}, "/labels", "not conditional"),
        ({"labels": ["cat"]}, "/labels/0", "'cat' is no class"),
        ({"start": "pool", "seed": 1}, "/start", "cannot be seeded"),
        ({"scale": 0}, "/scale", "scale=0 is below 1"),
        ({"frame_ms": 1}, "/frame_ms", "is below 20"),
    ],
)
def test_a_wrong_field_of_sample_is_pointed_at(
    client: httpx.Client, fields: dict[str, Any], pointer: str | None, words: str
):
    problem = refused(client.post(f"{GAN}/sample", json=fields), pointer)
    assert words in problem["detail"]


def test_every_wrong_field_is_told_of_at_once(client: httpx.Client):
    problem = refused(client.post(f"{GAN}/sample", json={"n": 0, "seed": -1, "sed": 1}))
    assert {e["pointer"] for e in problem["errors"]} == {"/n", "/seed", "/sed"}


@pytest.mark.parametrize(
    ("fields", "pointer", "words"),
    [
        ({}, "/points", "points is missing"),
        ({"points": [{"seed": 1}]}, "/points", "fewer than 2"),
        ({"points": [{"seed": 1}, 3]}, "/points/1", "is not an object"),
        ({"points": [{"seed": 1}, {}]}, "/points/1", "one of {seed, row?}"),
        ({"points": [{"seed": 1}, {"row": 1}]}, "/points/1", "one of {seed, row?}"),
        ({"points": [{"seed": 1}, {"seed": 1, "latent": [0] * 4}]}, "/points/1", "one of"),
        ({"points": [{"seed": 1}, {"sead": 1}]}, "/points/1/sead", "did you mean 'seed'?"),
        ({"points": [{"seed": 1}, {"latent": [1, 2]}]}, "/points/1/latent", "not [n, 4]"),
        ({"points": [{"seed": 1}, {"image": [[2.0] * 4] * 4}]}, "/points/1/image", "not in [0, 1]"),
        ({"points": [{"seed": 1}] * 2, "frames": 33}, "/frames", "exceeds 32"),
        ({"points": [{"seed": 1}] * 2, "frames": 1}, "/frames", "below 2"),
        ({"points": [{"seed": 1}] * 33}, "/points", "33 points exceed 32"),
        ({"points": [{"seed": 1}] * 3, "grid": [2, 2]}, "/points", "4"),
        ({"points": [{"seed": 1}] * 4, "grid": [2, 2], "frames": 4}, "/frames", "leave frames out"),
        ({"points": [{"seed": 1}] * 4, "grid": [2, 2], "loop": True}, "/loop", "loop"),
        ({"points": [{"seed": 1}] * 4, "grid": [2]}, "/grid", "fewer than 2"),
        ({"points": [{"seed": 1}] * 4, "grid": [20, 20]}, "/grid", "400"),
        ({"points": [{"seed": 1}] * 2, "method": "slurp"}, "/method", "did you mean 'slerp'?"),
    ],
)
def test_a_wrong_field_of_interpolate_is_pointed_at(
    client: httpx.Client, fields: dict[str, Any], pointer: str, words: str
):
    problem = refused(client.post(f"{GAN}/interpolate", json=fields), pointer)
    assert words in problem["detail"]


def _with(value: float) -> list[Any]:
    images = IMAGES.tolist()
    images[2][0][1][3] = value
    return images


@pytest.mark.parametrize(
    ("images", "pointer", "words"),
    [
        (_with(1.0000001), "/images/2", "not in [0, 1]"),
        (_with(-1e-9), "/images/2", "not in [0, 1]"),
        (_with(255), "/images/2", "divide 8-bit pixels by 255"),
        (_with(None), "/images/2", "not numbers"),
        (_with("1"), "/images/2", "not numbers"),
        ([[[0.0] * 4] * 3], "/images", "shape [1, 3, 4] is not [n, 1, 4, 4] or [n, 4, 4]"),
        ([], "/images", "is not [n, 1, 4, 4]"),
        (np.zeros((65, 4, 4)).tolist(), "/images", "65 images exceed 64"),
        ([[[0.0] * 4] * 4, [[0.0] * 4] * 3], "/images/1", "not all of one length"),
        ("x", "/images", "a string is not an array"),
        (3, "/images", "a number is not an array"),
        (None, "/images", "null is not an array"),
        ({"png": "***"}, "/images/png", "not valid base64"),
        ({"png": 3}, "/images", "nested numbers, or"),
        ({"jpg": ""}, "/images", "nested numbers, or"),
        ([b64(PNGS[0]), b64(b"GIF89a")], "/images/1", "not a PNG"),
        ([b64(PNGS[0]), b64(PNGS[1][:-20])], "/images/1", "cut off"),
        (b64(png_bytes(np.zeros((28, 28, 1), np.uint8))), "/images", "28 × 28"),
    ],
)
def test_a_wrong_image_is_refused_and_never_clipped(
    client: httpx.Client, images: Any, pointer: str, words: str
):
    problem = refused(client.post(f"{RBM}/score", json={"images": images}), pointer)
    assert words in problem["detail"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(client: httpx.Client, value: float):
    images = IMAGES.copy()
    images[1, 0, 0, 0] = value
    refused(client.post(f"{RBM}/score", content=npy.write(images), headers=NPY), "/images/1")
    text = b'{"images": [[[NaN, 0, 0, 0]]]}'
    assert "not JSON" in refused(client.post(f"{RBM}/score", content=text))["detail"]


@pytest.mark.parametrize(
    ("mask", "pointer", "words"),
    [
        (np.zeros((4, 4)).tolist(), "/mask", "no hole"),
        (np.ones((4, 4)).tolist(), "/mask", "nothing but a hole"),
        ([MASK.tolist(), np.ones((4, 4)).tolist(), MASK.tolist()], "/mask/1", "nothing but a hole"),
        ([[0.5] * 4] * 4, "/mask", "0 and 1"),
        ([[2] * 4] * 4, "/mask", "not in [0, 1]"),
        ([[0, 1]] * 2, "/mask", "[2, 2]"),
        ([MASK.tolist()] * 2, "/mask", "2 masks"),
        (None, "/mask", "null is not an array"),
    ],
)
def test_a_wrong_mask_is_refused(client: httpx.Client, mask: Any, pointer: str, words: str):
    body = {"images": IMAGES.tolist(), "mask": mask}
    assert words in refused(client.post(f"{RBM}/inpaint", json=body), pointer)["detail"]


def test_a_mask_is_wanted_and_its_convention_is_one_of_two(client: httpx.Client):
    body: dict[str, Any] = {"images": IMAGES.tolist()}
    refused(client.post(f"{RBM}/inpaint", json=body), "/mask")
    body |= {"mask": MASK.tolist(), "mask_convention": "white=fill"}
    refused(client.post(f"{RBM}/inpaint", json=body), "/mask_convention")


def test_rows_of_inpaint_are_images_times_fillings(client: httpx.Client):
    body = {"images": IMAGES.tolist(), "mask": MASK.tolist(), "n": 22}
    assert "66 rows" in refused(client.post(f"{RBM}/inpaint", json=body), "/n")["detail"]


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"alpha": 0}, "/alpha"),
        ({"alpha": 1}, "/alpha"),
        ({"explain": 1}, "/explain"),
        ({"method": "magic"}, "/method"),
    ],
)
def test_a_wrong_field_of_score_is_pointed_at(
    client: httpx.Client, fields: dict[str, Any], pointer: str
):
    body = {"images": IMAGES.tolist(), **fields}
    refused(client.post(f"{RBM}/score", json=body), pointer)


def test_a_method_that_is_not_there_is_answered_with_those_that_are(client: httpx.Client):
    body = {"images": IMAGES.tolist(), "method": "magic"}
    assert "free_energy" in refused(client.post(f"{RBM}/score", json=body))["detail"]


def test_a_capability_that_the_model_lacks_is_answered_with_those_it_has(client: httpx.Client):
    problem = refused(client.post(f"{GAN}/classify", json={"images": IMAGES.tolist()}))
    assert problem["type"] == "urn:reverie:problem:missing-capability"
    assert "it can sample, interpolate, inpaint, score, encode, reconstruct" in problem["detail"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"\xff\xfe", "not JSON"),
        (b'{"n": 1e999}', "not JSON"),
        (b"[" * 5000, "not JSON"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(client: httpx.Client, content: bytes, words: str):
    headers = {"Content-Type": "application/json"}
    problem = refused(client.post(f"{GAN}/sample", content=content, headers=headers))
    assert words in problem["detail"]


def test_a_field_given_twice_is_refused(client: httpx.Client):
    refused(client.post(f"{GAN}/sample?n=3", json={"n": 3}), "/n")
    files = [("image", ("x.png", PNGS[0])), ("images", (None, "[1]"))]
    refused(client.post(f"{RBM}/score", files=files), "/images")
    refused(client.post(f"{GAN}/sample?n=3&n=4"), "/n")


def test_fields_may_go_in_the_query_string_of_any_request(client: httpx.Client):
    assert client.post(f"{GAN}/sample?n=2&seed=3").json() == (
        client.post(f"{GAN}/sample", json={"n": 2, "seed": 3}).json()
    )


def test_a_query_string_of_nothing_but_fields_is_refused(client: httpx.Client):
    refused(client.post(f"{GAN}/sample?" + "a=1&" * 300))


@pytest.mark.parametrize(
    ("content", "parameters"),
    [
        (b"", "; boundary=abc"),
        (b"x", ""),
        (b"x", "; boundary=abc"),
        (b"--abc\r\n", "; boundary=abc"),
        (b'--abc\r\nContent-Disposition: form-data; name="n"\r\n\r\n3', "; boundary=abc"),
        (b"--abc\r\nA: b\r\n\r\nx\r\n--abc--\r\n", "; boundary=abc"),
    ],
)
def test_a_damaged_form_is_refused(client: httpx.Client, content: bytes, parameters: str):
    headers = {"Content-Type": "multipart/form-data" + parameters}
    refused(client.post(f"{RBM}/score", content=content, headers=headers))


def test_an_image_in_a_form_for_sample_is_an_unknown_field(client: httpx.Client):
    problem = refused(client.post(f"{GAN}/sample", files=[("image", ("x.png", PNGS[0]))]))
    assert "unknown field 'image'" in problem["detail"]


def test_a_damaged_npy_body_is_refused(client: httpx.Client):
    for content in (b"x", npy.write(IMAGES)[:-1], npy.write(np.zeros((2, 2)))):
        refused(client.post(f"{RBM}/score", content=content, headers=NPY))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",)), max_size=6), inner)
    ),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    ["n", "seed", "labels", "latents", "truncation", "temperature", "burn_in", "start", "values",
     "points", "frames", "method", "loop", "grid", "images", "mask", "mask_convention", "steps",
     "explain", "alpha", "timeout_ms"]
)  # fmt: skip
OPERATIONS = st.sampled_from(["sample", "interpolate", "inpaint", "score", "encode", "reconstruct"])
MODELS = st.sampled_from(["tiny-gan", "tiny-rbm", "colour"])


@given(model=MODELS, operation=OPERATIONS, body=st.dictionaries(FIELDS, JSON, max_size=4))
@settings(max_examples=300, deadline=None)
def test_no_json_body_is_answered_with_500(
    client: httpx.Client, model: str, operation: str, body: dict[str, Any]
):
    response = client.post(
        f"/v1/models/{model}/{operation}",
        content=json.dumps(body),  # writes integers of any size, which orjson does not
        headers={"Content-Type": "application/json"},
    )
    assert response.status_code in {200, 422, 504}, (body, response.text)
    if response.status_code == 422:
        problem = response.json()
        bodies.Problem.model_validate(problem)
        for error in problem.get("errors", []):
            _resolves(error["pointer"], body)


def _resolves(pointer: str, document: Any) -> None:
    """The pointer names something in the document, or a field of something in it."""
    steps = [s.replace("~1", "/").replace("~0", "~") for s in pointer.split("/")[1:]]
    for step in steps[:-1]:
        document = document[int(step)] if isinstance(document, list) else document[step]
    if isinstance(document, list):
        assert 0 <= int(steps[-1]) < len(document)
    else:
        assert isinstance(document, dict)


@given(content=st.binary(max_size=200), kind=st.sampled_from(["json", "x-npy"]))
@settings(deadline=None)
def test_no_bytes_are_answered_with_500(client: httpx.Client, content: bytes, kind: str):
    headers = {"Content-Type": f"application/{kind}"}
    response = client.post(f"{RBM}/score", content=content, headers=headers)
    assert response.status_code == 422


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["image", "mask", "images", "n", "seed", "x"]),
            st.binary(max_size=20) | st.sampled_from([PNGS[0], MASK_PNG, b"3", b"[[1]]"]),
            st.booleans(),
        ),
        min_size=1,
        max_size=5,
    )
)
@settings(deadline=None)
def test_no_form_is_answered_with_500(client: httpx.Client, parts: list[tuple[str, bytes, bool]]):
    files = [(name, ("f.png" if is_file else None, content)) for name, content, is_file in parts]
    response = client.post(f"{RBM}/inpaint", files=files)
    assert response.status_code in {200, 422}, response.text


@given(
    headers=st.dictionaries(
        st.sampled_from(["Accept", "If-None-Match", "X-Priority", "X-Timeout-Ms", "Content-Type"]),
        st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"))
        .map(lambda text: text.strip().encode("latin-1"))
        .filter(lambda value: not any(0x80 <= byte < 0xA1 for byte in value)),
        max_size=3,
    ),
    query=st.text(max_size=40),
)
@settings(deadline=None, max_examples=200)
def test_no_headers_and_no_query_string_are_answered_with_500(
    client: httpx.Client, headers: dict[str, bytes], query: str
):
    sent = [(name.encode(), value) for name, value in headers.items()]
    url = httpx.URL(f"{RBM}/score", query=quote(query, safe="=&%+").encode())
    response = client.post(url, content=b'{"images": [[[0]]]}', headers=sent)
    assert response.status_code in {400, 406, 415, 422, 504}, response.text


@pytest.mark.parametrize("depth", [20, 70, 900])
def test_nests_of_any_depth_are_refused(client: httpx.Client, depth: int):
    content = b'{"images": ' + b"[" * depth + b"0" + b"]" * depth + b"}"
    assert client.post(f"{RBM}/score", content=content).status_code == 422


def test_a_path_of_any_bytes_is_404(client: httpx.Client):
    for name in ("%ff", "%ed%a0%80", "%00", "a%0ab", "%22%3e"):
        assert client.post(f"/v1/models/{name}/sample").status_code == 404


def test_pngs_from_pillow_with_every_option_are_read(client: httpx.Client):
    image = Image.fromarray(PIXELS[0, :, :, 0])
    wanted = client.post(f"{RBM}/score", json={"images": b64(PNGS[0])}).json()
    for options in ({"optimize": True}, {"compress_level": 0}, {"interlace": 1}):
        buffer = io.BytesIO()
        image.save(buffer, "PNG", **options)
        body = {"images": b64(buffer.getvalue())}
        assert client.post(f"{RBM}/score", json=body).json() == wanted
