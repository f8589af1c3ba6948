"""Each operation through both clients, against the real service."""

from __future__ import annotations

import io

import httpx
import numpy as np
import pytest
from PIL import Image

from service.client import AsyncClient, Invalid, NotFound
from tests.client.either import Either

IMAGES = np.random.default_rng(0).random((3, 1, 4, 4)).astype(np.float32)
MASK = np.tile(np.array([0, 0, 1, 1]), (4, 1))


async def test_samples_have_array_pictures_seed_and_where_they_come_from(client: Either):
    found = await client.sample("tiny-gan", n=5, seed=7)
    assert found.array.shape == (5, 1, 4, 4)
    assert found.array.dtype == np.float32
    assert [image.size for image in found.images()] == [(4, 4)] * 5
    assert found.seed == 7
    assert found.model == "tiny-gan@1"
    assert found.digest.startswith("sha256:")
    assert found.etag.startswith('"')
    assert found.request_id
    assert found.timing.compute_ms > 0
    assert found.diagnostics is None


async def test_the_seed_that_the_server_drew_gives_the_samples_again(client: Either):
    drawn = await client.sample("tiny-gan", n=2)
    again = await client.sample("tiny-gan", n=2, seed=drawn.seed)
    assert np.array_equal(drawn.array, again.array)


async def test_energy_models_tell_of_their_chains(client: Either):
    found = await client.sample("tiny-rbm", n=8, seed=1, burn_in=200)
    assert found.diagnostics.sweeps == 200
    assert found.diagnostics.split_rhat > 0


async def test_without_diagnostics_the_same_samples_travel_as_binary(client: Either):
    told = await client.sample("tiny-rbm", n=8, seed=1)
    bare = await client.sample("tiny-rbm", n=8, seed=1, diagnostics=False)
    assert np.array_equal(told.array, bare.array)
    assert (bare.seed, bare.model, bare.digest) == (told.seed, told.model, told.digest)
    assert bare.diagnostics is None
    bare.array[0] = 0  # the caller's own


async def test_samples_of_the_pool_have_no_seed(client: Either):
    for diagnostics in (True, False):
        found = await client.sample("tiny-rbm", n=2, start="pool", diagnostics=diagnostics)
        assert found.seed is None


async def test_pictures_are_those_that_the_service_draws(client: Either, server: str):
    found = await client.sample("colour", n=1, seed=3, labels="dog")
    async with httpx.AsyncClient(base_url=server, headers={"Accept": "image/png"}) as http:
        asked = {"n": 1, "seed": 3, "labels": "dog"}
        drawn = await http.post("/v1/models/colour/sample", json=asked)
    with Image.open(io.BytesIO(drawn.content)) as picture:
        assert np.array_equal(np.asarray(found.images()[0]), np.asarray(picture))
        assert found.images()[0].mode == picture.mode == "RGB"


async def test_labels_may_be_any_sequence(client: Either):
    by_name = await client.sample("colour", n=2, seed=3, labels=["dog", "owl"])
    by_index = await client.sample("colour", n=2, seed=3, labels=np.array([1, 2]))
    assert np.array_equal(by_name.array, by_index.array)


async def test_latents_stand_in_for_a_seed(client: Either):
    latents = np.random.default_rng(1).standard_normal((2, 4))
    found = await client.sample("tiny-gan", latents=latents)
    assert found.array.shape == (2, 1, 4, 4)
    assert found.seed is None


async def test_a_path_begins_and_ends_at_its_points(client: Either):
    path = await client.interpolate("tiny-gan", points=[7, {"seed": 8, "row": 2}], frames=5)
    first = await client.sample("tiny-gan", seed=7)
    last = await client.sample("tiny-gan", n=3, seed=8)
    assert path.array.shape == (5, 1, 4, 4)
    assert path.latents.shape == (5, 4)
    assert np.array_equal(path.array[0], first.array[0])
    assert np.array_equal(path.array[-1], last.array[2])
    assert len(path.images()) == 5


async def test_points_may_be_latents_pictures_and_arrays(client: Either):
    picture = (await client.sample("tiny-gan", seed=1)).images()[0]
    points = [{"latent": np.zeros(4)}, {"image": picture}, {"image": IMAGES[0]}]
    path = await client.interpolate("tiny-gan", points=points, frames=3)
    assert len(path.array) == 3


async def test_a_grid_has_rows_times_columns_frames(client: Either):
    found = await client.interpolate("tiny-gan", points=[1, 2, 3, 4], grid=(2, 3))
    assert len(found.array) == 6


async def test_inpainting_keeps_known_values_bit_for_bit(client: Either):
    found = await client.inpaint("tiny-gan", IMAGES, mask=MASK, n=2, seed=5)
    assert found.array.shape == (3, 2, 1, 4, 4)
    known = np.broadcast_to(MASK == 0, found.array.shape)
    assert np.array_equal(found.array[known], np.repeat(IMAGES[:, None], 2, 1)[known])
    assert found.hole_fraction == 0.5
    assert found.seed == 5
    assert len(found.images()) == 6


async def test_masks_may_be_booleans_pictures_and_the_other_way_round(client: Either):
    one = await client.inpaint("tiny-gan", IMAGES, mask=MASK, seed=5)
    other = await client.inpaint("tiny-gan", IMAGES, mask=MASK == 1, seed=5)
    drawn = Image.fromarray((255 * (1 - MASK)).astype(np.uint8))
    third = await client.inpaint("tiny-gan", IMAGES, mask=drawn, mask_convention="0=fill", seed=5)
    assert np.array_equal(one.array, other.array)
    assert np.array_equal(one.array, third.array)


async def test_scores_come_with_p_values_and_heat_maps(client: Either):
    found = await client.score("tiny-gan", IMAGES, explain=True, alpha=0.1, method="distance")
    assert found.scores.shape == found.p_values.shape == (3,)
    assert np.array_equal(found.array, found.scores)
    assert found.anomalous.dtype == np.bool_
    assert np.array_equal(found.anomalous, found.p_values <= 0.1)
    assert (found.alpha, found.method, found.n_calibration) == (0.1, "distance", 99)
    assert found.threshold > 0
    assert found.heatmaps.shape == IMAGES.shape


async def test_a_model_without_calibration_gives_scores_alone(client: Either):
    found = await client.score("colour", np.zeros((1, 3, 4, 5)))
    assert found.p_values is found.anomalous is found.threshold is found.heatmaps is None


async def test_a_picture_scores_as_its_pixels_do(client: Either):
    picture = (await client.sample("tiny-gan", seed=1)).images()[0]
    pixels = np.asarray(picture, np.float32)[None] / np.float32(255)
    as_picture, as_pixels = (
        [(await client.score("tiny-gan", images)).scores[0] for images in (picture, [picture])],
        (await client.score("tiny-gan", pixels)).scores[0],
    )
    assert as_picture == [as_pixels] * 2


async def test_features_and_reconstructions_have_a_row_an_image(client: Either):
    features = await client.encode("tiny-gan", IMAGES)
    again = await client.reconstruct("tiny-gan", IMAGES)
    assert features.array.shape == (3, 4)
    assert features.model == "tiny-gan@1"
    assert again.array.shape == IMAGES.shape
    assert len(again.images()) == 3


async def test_classes_have_names(client: Either):
    found = await client.classify("colour", np.random.default_rng(2).random((4, 3, 4, 5)))
    assert found.array.shape == (4, 3)
    assert found.labels == ("cat", "dog", "owl")
    assert found.names() == [found.labels[i] for i in found.array.argmax(1)]


async def test_the_catalogue_lists_models_pages_cards_and_previews(client: Either):
    listed = await client.models()
    assert [m.name for m in listed] == ["colour", "tiny-gan", "tiny-rbm", "tiny-table"]
    page = await client.model("tiny-gan@1")
    assert page.kind == "image"
    assert page.shape == (1, 4, 4)
    assert "sample" in page.capabilities
    assert page.document["limits"]["rows"] == 64
    assert (await client.card("colour")).startswith("# colour")
    assert (await client.preview("colour")).size == (5, 4)


async def test_a_wrong_value_is_refused_in_the_servers_words(client: Either):
    with pytest.raises(Invalid, match="exceeds 64; order it with POST") as caught:
        await client.sample("tiny-gan", n=65)
    assert caught.value.status == 422
    assert caught.value.type.startswith("urn:")
    assert caught.value.request_id
    assert [e.pointer for e in caught.value.errors] == ["/n"]


@pytest.mark.parametrize("name", ["no-such-model", "../tiny-gan", "a/b", "ü", "tiny-gan?x=1"])
async def test_a_model_that_is_not_there_is_not_found(client: Either, name: str):
    with pytest.raises(NotFound):
        await client.sample(name)


async def test_what_is_no_image_is_not_sent(client: Either):
    with pytest.raises(TypeError, match="neither numbers nor pictures"):
        await client.score("tiny-gan", ["a.png"])


async def test_eight_bit_pixels_are_told_to_be_divided(client: Either):
    with pytest.raises(Invalid, match="divide 8-bit pixels by 255"):
        await client.score("tiny-gan", np.full((1, 1, 4, 4), 200, np.uint8))


async def test_each_call_may_have_its_own_deadline_and_priority(client: Either):
    found = await client.sample("tiny-gan", seed=1, timeout_s=30, priority="batch")
    assert len(found.array) == 1
    with pytest.raises(Invalid, match="X-Priority"):
        await client.sample("tiny-gan", priority="none such")
    with pytest.raises(ValueError, match="not above 0"):
        await client.sample("tiny-gan", timeout_s=0)


def test_the_async_client_runs_under_trio_too(server: str):
    trio = pytest.importorskip("trio")

    async def main() -> None:
        async with AsyncClient(server) as client:
            assert (await client.sample("tiny-gan", n=2, seed=7)).array.shape == (2, 1, 4, 4)
            order = await client.augment("tiny-gan", n=100, seed=7)
            assert len(await order.to_pandas()) == 100

    trio.run(main)
