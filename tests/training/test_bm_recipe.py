"""A Boltzmann machine's whole path: recipe, package, evaluation, and how the service serves it."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load as load_safetensors

from service.contract import PackageError, read_package
from service.queries import (
    Encode,
    ImagePoint,
    Inpaint,
    Interpolate,
    Reconstruct,
    Sample,
    Score,
    SeedPoint,
)
from tests.training.served_machines import (
    DATA,
    EVALUATE,
    ask,
    digits,
    export_of_stage,
    package_of,
    train_all,
)
from tests.training.test_bm import random_bm
from tests.training.test_training_cli import call, places
from training.bm_connections import connections
from training.bm_evaluation import blocks_of, read_rivals, read_weights
from training.bm_export import check_parity
from training.bm_quantised import quantise_bm
from training.card import number
from training.config import load_config
from training.data import load
from training.package_sweeps import inpaint, sample

RECIPE = """
name = "{name}"
kind = "bm"
seed = 3
[model]
hidden = 6
visible_links = "{visible_links}"
hidden_links = "{hidden_links}"
[train]
phases = [{{ epochs = 2, batch = 20, chains = 20, sweeps = 1 }}]
monitor_betas = 20
[export]
burn_in = 8
inpaint_steps = 3
mean_field_updates = 5
"""
RECIPE += DATA + EVALUATE + "evidence_runs = 2\nevidence_betas = 5\n"
RIVAL = """
[[rivals]]
name = "restricted"
hidden = 5
visible_links = "none"
hidden_links = "none"
"""
MODELS = {"full": ("all", "all"), "grid": ("neighbours", "none")}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    recipes = {
        name: RECIPE.format(name=name, visible_links=visible_links, hidden_links=hidden_links)
        for name, (visible_links, hidden_links) in MODELS.items()
    }
    recipes["full"] += RIVAL
    return train_all(folder, recipes)


@pytest.mark.parametrize("model", MODELS)
def test_training_publishes_a_package_with_figures_and_pictures(trained, model):
    manifest = read_package(trained / "store" / model / "1")
    assert manifest.family == "bm"
    assert manifest.capabilities == (
        "sample", "interpolate", "inpaint", "score", "encode", "reconstruct",
    )  # fmt: skip
    names = [q.name for q in manifest.quality]
    assert names[:3] == [
        "test_log_probability",
        "test_log_probability_float_weights",
        "test_log_probability_reverse_ais",
    ]
    assert ("test_bound" in names) == (model == "full")
    assert ("gain_over_restricted" in names) == (model == "full")
    assert manifest.scores[0].method == ("negative_bound" if model == "full" else "free_energy")
    assert {"preview.png", "inpainting.png", "card.md"} <= set(manifest.files)
    assert all(manifest.functions[f].exact for f in ("sweep", "start", "readout"))


def test_the_card_compares_the_machine_with_its_rivals(trained):
    card = package_of(trained, "full").read("card.md").decode()
    assert "## What the connections buy" in card
    assert "| full, 64-6 | fully connected | 2,415 | 70 |" in card
    assert "| restricted, 64-5 | restricted | 320 | 2 |" in card
    plain = package_of(trained, "grid").read("card.md").decode()
    assert "What the connections buy" not in plain
    assert "restricted but for links among neighbouring pixels" in plain


@pytest.mark.parametrize("model", MODELS)
def test_the_published_weights_are_the_dequantised_integers(trained, model):
    package = package_of(trained, model)
    tensors = load_safetensors(package.read("weights.safetensors"))
    shapes = {"weight.1": (64, 6), "bias.0": (64,), "bias.1": (6,), "lateral.0": (64, 64)}
    shapes |= {"lateral.1": (6, 6)} if model == "full" else {}
    assert {name: t.shape for name, t in tensors.items()} == shapes
    step = package.manifest.provenance["weight_step"]
    for name, values in tensors.items():
        np.testing.assert_allclose(values / step, np.rint(values / step), atol=1e-2, err_msg=name)
    bm = read_weights(package)
    assert torch.equal(bm.W, bm.W.T)
    assert len(blocks_of(bm)) <= (70 if model == "full" else 5)


def test_rivals_are_kept_as_integers_and_read_as_machines(trained):
    package = package_of(trained, "full")
    assert read_rivals(package_of(trained, "grid")) == {}
    (rival,) = read_rivals(package).values()
    assert (rival.units, rival.visible) == (69, 64)
    raw = load_safetensors(package.read("rival-restricted.safetensors"))
    assert raw["weight.1"].dtype == np.int8
    torch.testing.assert_close(rival.W[:64, 64:], torch.from_numpy(raw["weight.1"] * raw["step"]))


def test_evaluating_prints_the_figures_that_were_published(trained):
    output = call("evaluate", "full@1", "--store", str(trained / "store"), "--device", "cpu")
    published = {q.name: q for q in read_package(trained / "store" / "full" / "1").quality}
    for name in ("test_log_probability", "test_bound", "gain_over_restricted"):
        assert name in output
        assert number(published[name].value) in output


def test_a_run_that_still_trains_rivals_cannot_be_exported(trained, tmp_path):
    output = export_of_stage(trained, tmp_path, "full", stage="rival-restricted")
    assert "train on with --resume" in output


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("train.gradient='exact'", "would enumerate 70 units, more than 20"),
        ("model.hidden=2000", "more than 2,048"),
        ("model.visible_links='some'", "model.visible_links"),
        ("data.holdout=3", "at least 20"),
    ],
)
def test_a_recipe_that_cannot_work_is_told_so_before_it_runs(
    trained, tmp_path, override, complaint
):
    recipe = str(trained / "full.toml")
    output = call("train", recipe, "--runs", str(tmp_path), "--set", override, code=2)
    assert complaint in output


def test_two_rivals_of_one_name_are_refused(tmp_path):
    text = RECIPE.format(name="twice", visible_links="all", hidden_links="all") + RIVAL + RIVAL
    (tmp_path / "twice.toml").write_text(text)
    output = call("train", str(tmp_path / "twice.toml"), code=2)
    assert "two rivals have one name" in output


def test_parity_notices_another_machine(trained):
    package = package_of(trained, "full")
    links = connections((1, 8, 8), hidden=6)
    stranger = quantise_bm(random_bm(links, visible=64), bits=8)
    posterior = load_config(trained / "full.toml")[1].export.posterior
    with pytest.raises(PackageError, match="sweep 0 has"):
        check_parity(
            package, stranger, blocks=blocks_of(stranger.dequantised()), posterior=posterior, seed=0
        )


@pytest.mark.parametrize("model", MODELS)
async def test_the_service_draws_what_the_package_draws_for_the_same_seed(engine, trained, model):
    (mine,) = sample(package_of(trained, model), n=3, seed=7, sweeps=[8])
    served = await ask(engine, model, Sample(n=3, seed=7))
    assert served.samples.tobytes() == mine.tobytes()
    assert served.diagnostics.sweeps == 8
    states = await ask(engine, model, Sample(n=3, seed=7, values="sample"))
    assert set(np.unique(states.samples)) <= {0.0, 1.0}


@pytest.mark.parametrize("model", MODELS)
async def test_a_row_of_a_seeded_answer_is_the_same_alone_and_in_a_batch(engine, model):
    alone = await ask(engine, model, Sample(n=1, seed=9, temperature=0.7))
    many = await ask(engine, model, Sample(n=5, seed=9, temperature=0.7))
    assert many.samples[:1].tobytes() == alone.samples.tobytes()


@pytest.mark.parametrize("model", MODELS)
async def test_the_service_fills_holes_and_keeps_what_is_known(engine, trained, model):
    hole = np.zeros((1, 8, 8), bool)
    hole[:, 2:6, 2:6] = True
    images = digits()
    served = await ask(engine, model, Inpaint(images=images, mask=hole.astype(np.float32), seed=4))
    filled = served.samples[:, 0]
    assert np.array_equal(filled[:, ~hole], images[:, ~hole])
    keys = [image * 2**32 for image in range(3)]
    mine = inpaint(package_of(trained, model), images, hole, seed=4, sweeps=3, rows=keys)
    assert filled.tobytes() == mine.tobytes()


@pytest.mark.parametrize("model", MODELS)
async def test_paths_run_between_seeds_and_images(engine, model):
    path = await ask(engine, model, Interpolate(points=(SeedPoint(1), SeedPoint(2)), frames=5))
    assert path.frames.shape == (5, 1, 8, 8)
    assert path.latents.shape == (5, 70)
    assert set(np.unique(path.latents[0])) <= {0.0, 1.0}
    alone = await ask(engine, model, Sample(n=1, seed=1))
    assert np.array_equal(path.frames[0], alone.samples[0])
    mixed = (ImagePoint(image=digits(1)[0]), SeedPoint(seed=2))
    crossing = await ask(engine, model, Interpolate(points=mixed, frames=3))
    assert np.array_equal(crossing.frames[-1], path.frames[-1])


@pytest.mark.parametrize("model", MODELS)
async def test_images_are_encoded_reconstructed_and_scored(engine, model):
    features = await ask(engine, model, Encode(images=digits()))
    assert features.features.shape == (3, 70)
    assert np.array_equal(features.features[:, :64], digits().reshape(3, 64))
    again = await ask(engine, model, Reconstruct(images=digits()))
    assert again.images.shape == (3, 1, 8, 8)
    scored = await ask(engine, model, Score(images=digits(), explain=True))
    assert scored.method == ("negative_bound" if model == "full" else "free_energy")
    assert ((scored.p_values > 0) & (scored.p_values <= 1)).all()
    assert scored.heatmaps.shape == (3, 1, 8, 8)


@pytest.mark.slow
def test_the_published_recipe_learns_digits_within_a_minute(tmp_path):
    """A quarter of its epochs, without rivals: 2.5 nats better than independent pixels."""
    recipe = "training/configs/digits-bm.toml"
    words = ["train.phases=[{ epochs = 100, batch = 100, chains = 100, sweeps = 1 }]", "rivals=[]",
             "train.monitor_every=1000", "evaluate.betas=500", "evaluate.evidence_runs=2",
             "evaluate.reverse_burn_in=100",
             "export.burn_in=20"]  # fmt: skip
    call("train", recipe, *places(tmp_path), "--threads", "1",
         *(word for override in words for word in ("--set", override)))  # fmt: skip
    package = package_of(tmp_path, "digits-bm")
    figures = {q.name: q.value for q in package.manifest.quality}
    assert figures["test_log_probability"] > figures["test_log_probability_base_rates"] + 2.5
    assert figures["test_log_probability_reverse_ais"] > figures["test_log_probability"] - 0.5
    assert package.manifest.provenance["training_seconds"] < 60
    assert package.manifest.data.shape == load("digits").shape
