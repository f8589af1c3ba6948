"""Each operation over HTTP, on real packages, as API.md has it."""

from __future__ import annotations

import httpx
import numpy as np
import pytest

from service.api import bodies

GAN, RBM, COLOUR = "/v1/models/tiny-gan", "/v1/models/tiny-rbm", "/v1/models/colour"
IMAGES = np.random.default_rng(0).random((3, 1, 4, 4)).round(3).tolist()
MASK = [[0, 0, 1, 1]] * 4


def ask(client: httpx.Client, path: str, **fields: object) -> dict:
    response = client.post(path, json=fields)
    assert response.status_code == 200, response.text
    found = response.json()
    bodies.ANSWERS[path.rsplit("/", 1)[1]].model_validate(found)
    return found


@pytest.mark.parametrize("model", [GAN, RBM, COLOUR])
def test_sample_answers_with_what_was_drawn(client: httpx.Client, model: str):
    found = ask(client, f"{model}/sample", n=3, seed=5)
    samples = np.array(found["samples"])
    assert list(samples.shape) == found["shape"]
    assert found["shape"][0] == 3
    assert found["seed"] == 5
    assert samples.min() >= 0
    assert samples.max() <= 1


def test_a_sample_without_any_field_is_one_with_a_drawn_seed(client: httpx.Client):
    for content in (b"", b"{}"):
        first = client.post(f"{GAN}/sample", content=content).json()
        assert first["shape"] == [1, 1, 4, 4]
        assert 0 <= first["seed"] < 2**53
        assert ask(client, f"{GAN}/sample", seed=first["seed"])["samples"] == first["samples"]


@pytest.mark.parametrize("model", [GAN, RBM, COLOUR])
def test_row_i_depends_on_the_seed_and_i_alone(client: httpx.Client, model: str):
    few, many = (ask(client, f"{model}/sample", n=n, seed=9)["samples"] for n in (2, 20))
    assert few == many[:2]
    assert many[0] != many[1]


def test_energy_models_tell_of_their_chains(client: httpx.Client):
    found = ask(client, f"{RBM}/sample", n=8, seed=1, burn_in=200)["diagnostics"]
    assert found["sweeps"] == 200
    assert found["split_rhat"] > 0
    assert "diagnostics" not in ask(client, f"{GAN}/sample", seed=1)


def test_the_pool_answers_without_a_seed_and_says_how_old_its_chains_are(client: httpx.Client):
    found = ask(client, f"{RBM}/sample", n=4, start="pool")
    assert found["seed"] is None
    assert found["shape"] == [4, 1, 4, 4]
    assert found["diagnostics"]["chain_age_sweeps"] > 0
    assert ask(client, f"{RBM}/sample", n=4, start="fresh")["seed"] is not None


def test_values_are_probabilities_or_draws(client: httpx.Client):
    draws = np.array(ask(client, f"{RBM}/sample", n=8, seed=1, values="sample")["samples"])
    means = np.array(ask(client, f"{RBM}/sample", n=8, seed=1, values="mean")["samples"])
    assert set(np.unique(draws)) == {0.0, 1.0}
    assert len(np.unique(means)) > 2


def test_temperature_and_burn_in_are_heard(client: httpx.Client):
    plain = ask(client, f"{RBM}/sample", n=4, seed=1)["samples"]
    for change in ({"temperature": 4.0}, {"burn_in": 3}):
        assert ask(client, f"{RBM}/sample", n=4, seed=1, **change)["samples"] != plain


def test_latents_take_the_place_of_a_seed(client: httpx.Client):
    latents = np.random.default_rng(1).standard_normal((3, 4)).tolist()
    found = ask(client, f"{GAN}/sample", latents=latents)
    assert found["seed"] is None
    assert found["shape"][0] == 3
    alone = ask(client, f"{GAN}/sample", latents=latents[1])
    assert alone["samples"][0] == found["samples"][1]


def test_truncation_draws_towards_the_middle(client: httpx.Client):
    wide, narrow = (
        np.array(ask(client, f"{GAN}/sample", n=16, seed=1, truncation=psi)["samples"])
        for psi in (1, 0.1)
    )
    assert np.abs(narrow - 0.5).mean() < np.abs(wide - 0.5).mean() / 2


@pytest.mark.parametrize("labels", ["dog", 1, ["dog"], [1, 1]])
def test_labels_are_names_or_indices_one_or_one_each(client: httpx.Client, labels: object):
    wanted = ask(client, f"{COLOUR}/sample", n=2, seed=3, labels=[1, 1])["samples"]
    assert ask(client, f"{COLOUR}/sample", n=2, seed=3, labels=labels)["samples"] == wanted
    assert ask(client, f"{COLOUR}/sample", n=2, seed=3, labels="owl")["samples"] != wanted


@pytest.mark.parametrize("model", [GAN, RBM])
def test_interpolate_goes_through_its_points(client: httpx.Client, model: str):
    found = ask(
        client, f"{model}/interpolate", points=[{"seed": 7}, {"seed": 8, "row": 2}], frames=5
    )
    assert found["shape"] == [5, 1, 4, 4]
    assert len(found["latents"]) == 5
    first = ask(client, f"{model}/sample", n=1, seed=7)["samples"][0]
    last = ask(client, f"{model}/sample", n=3, seed=8)["samples"][2]
    assert found["frames"][0] == first
    assert found["frames"][-1] == last


def test_interpolate_has_sixteen_frames_unless_told(client: httpx.Client):
    points = [{"seed": 1}, {"seed": 2}]
    assert ask(client, f"{GAN}/interpolate", points=points)["shape"][0] == 16


def test_points_are_seeds_latents_and_images_mixed(client: httpx.Client):
    latent = [0.1, 0.2, 0.3, 0.4]
    points = [{"seed": 1}, {"latent": latent}, {"image": IMAGES[0]}]
    found = ask(client, f"{GAN}/interpolate", points=points, frames=7, method="lerp")
    np.testing.assert_allclose(found["latents"][3], latent, rtol=1e-6)
    encoded = ask(client, f"{GAN}/encode", images=IMAGES[:1])["features"][0]
    np.testing.assert_allclose(found["latents"][6], encoded, rtol=1e-5, atol=1e-6)


def test_a_grid_lies_between_four_corners(client: httpx.Client):
    points = [{"seed": s} for s in range(4)]
    found = ask(client, f"{GAN}/interpolate", points=points, grid=[3, 4])
    assert found["shape"][0] == 12
    corners = [found["frames"][i] for i in (0, 3, 8, 11)]
    assert corners == [ask(client, f"{GAN}/sample", seed=s)["samples"][0] for s in range(4)]


def test_a_loop_ends_where_it_began(client: httpx.Client):
    points = [{"seed": 1}, {"seed": 2}]
    looped = ask(client, f"{GAN}/interpolate", points=points, frames=8, loop=True)["frames"]
    there = ask(client, f"{GAN}/interpolate", points=points, frames=8)["frames"]
    assert looped[0] == there[0]
    assert looped != there


@pytest.mark.parametrize("model", [GAN, RBM])
def test_inpaint_keeps_what_is_known_bit_for_bit(client: httpx.Client, model: str):
    found = ask(client, f"{model}/inpaint", images=IMAGES, mask=MASK, n=2, seed=4)
    assert found["shape"] == [3, 2, 1, 4, 4]
    assert found["hole_fraction"] == 0.5
    assert found["seed"] == 4
    sent = np.array(IMAGES, np.float32)[:, np.newaxis]
    samples = np.array(found["samples"], np.float32)
    np.testing.assert_array_equal(samples[..., :2], np.broadcast_to(sent, samples.shape)[..., :2])
    assert (samples[:, 0, ..., 2:] != samples[:, 1, ..., 2:]).any()


def test_masks_come_one_for_all_or_one_each_in_either_convention(client: httpx.Client):
    one = ask(client, f"{RBM}/inpaint", images=IMAGES, mask=MASK, seed=1)["samples"]
    each = ask(client, f"{RBM}/inpaint", images=IMAGES, mask=[MASK] * 3, seed=1)["samples"]
    inverse = [[1 - v for v in row] for row in MASK]
    other = ask(
        client, f"{RBM}/inpaint", images=IMAGES, mask=inverse, mask_convention="0=fill", seed=1
    )["samples"]
    assert one == each == other


def test_score_has_a_score_a_p_value_and_a_verdict_for_each_image(client: httpx.Client):
    found = ask(client, f"{GAN}/score", images=IMAGES, alpha=0.1)
    assert len(found["scores"]) == len(found["p_values"]) == len(found["anomalous"]) == 3
    assert found["alpha"] == 0.1
    assert found["method"] == "distance"
    assert found["n_calibration"] == 99
    assert found["anomalous"] == [p <= 0.1 for p in found["p_values"]]
    assert "heatmaps" not in found


def test_explain_adds_heat_maps(client: httpx.Client):
    found = ask(client, f"{RBM}/score", images=IMAGES, explain=True)
    assert np.array(found["heatmaps"]).shape == (3, 1, 4, 4)


def test_scores_without_calibration_have_no_p_values(client: httpx.Client):
    images = np.zeros((2, 3, 4, 5)).tolist()
    found = ask(client, f"{COLOUR}/score", images=images)
    assert found["p_values"] is found["anomalous"] is found["threshold"] is None
    assert found["n_calibration"] == 0


def test_encode_and_reconstruct(client: httpx.Client):
    encoded = ask(client, f"{GAN}/encode", images=IMAGES)
    assert encoded["shape"] == [3, 4]
    again = ask(client, f"{GAN}/sample", latents=encoded["features"])["samples"]
    assert ask(client, f"{GAN}/reconstruct", images=IMAGES)["images"] == again


def test_classify_gives_probabilities_in_the_order_of_the_labels(client: httpx.Client):
    found = ask(client, f"{COLOUR}/classify", images=np.zeros((2, 3, 4, 5)).tolist())
    assert found["labels"] == ["cat", "dog", "owl"]
    np.testing.assert_allclose(np.sum(found["probabilities"], axis=1), 1, rtol=1e-5)


def test_a_name_alone_is_its_newest_version(client: httpx.Client):
    assert ask(client, f"{GAN}/sample")["model"] == "tiny-gan@2"
    assert ask(client, f"{GAN}@1/sample")["model"] == "tiny-gan@1"
