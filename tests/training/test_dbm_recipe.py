"""A deep machine's whole path: recipe, package, evaluation, and what the service makes of it."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load as load_safetensors

from service.contract import PackageError, read_package
from service.queries import (
    Classify,
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
    LAYER,
    ask,
    digits,
    export_of_stage,
    package_of,
    train_all,
)
from tests.training.test_dbm import deep_machine
from tests.training.test_training_cli import call
from training.boltzmann_package import read_tensors
from training.classifier_graph import as_exported
from training.dbm import MeanField, mean_field
from training.dbm_classifier import classifier_inputs, trained_classifier, unrolled
from training.dbm_evaluation import read_weights
from training.dbm_export import check_parity
from training.package_sweeps import inpaint, sample
from training.quantised_deep import quantise_deep

RECIPE = """
name = "{name}"
kind = "dbm"
seed = 3
[model]
hidden = {hidden}
[train]
phases = [{{ epochs = 2, batch = 20, chains = 20, sweeps = 1 }}]
monitor_betas = 20
[export]
burn_in = 8
inpaint_steps = 3
mean_field_updates = 5
"""
RECIPE += DATA + EVALUATE
CLASSIFY = """
[classify]
epochs = 3
batch = 20
"""
MODELS = {"two-layers": [10, 8], "three-layers": [10, 8, 6]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    recipes = {
        name: RECIPE.format(name=name, hidden=hidden) + LAYER * len(hidden)
        for name, hidden in MODELS.items()
    }
    recipes["two-layers"] += CLASSIFY
    return train_all(folder, recipes)


@pytest.mark.parametrize("model", MODELS)
def test_training_publishes_a_package_with_bounds_and_pictures(trained, model):
    manifest = read_package(trained / "store" / model / "1")
    assert manifest.family == "dbm"
    assert manifest.capabilities == (
        "sample", "interpolate", "inpaint", "score", "encode", "reconstruct",
        *(["classify"] if model == "two-layers" else []),
    )  # fmt: skip
    names = [q.name for q in manifest.quality]
    assert names[:6] == [
        f"test_bound{which}{how}"
        for which in ("", "_float_weights", "_reverse_ais")
        for how in ("", "_summed")
    ]
    assert {"preview.png", "inpainting.png", "card.md"} <= set(manifest.files)
    assert all(manifest.functions[f].exact for f in ("sweep", "start", "readout"))


def test_the_published_weights_are_the_dequantised_integers(trained):
    package = package_of(trained, "three-layers")
    kept = load_safetensors(package.read("weights.safetensors"))
    assert {kept[f"weight.{i}"].dtype for i in (1, 2, 3)} == {np.dtype(np.int8)}
    tensors = {n: t.numpy() for n, t in read_tensors(package).items()}
    shapes = {k: v.shape for k, v in tensors.items()}
    assert shapes == {
        "weight.1": (64, 10), "weight.2": (10, 8), "weight.3": (8, 6),
        "bias.0": (64,), "bias.1": (10,), "bias.2": (8,), "bias.3": (6,),
    }  # fmt: skip
    step = package.manifest.provenance["weight_step"]
    for name, values in tensors.items():
        np.testing.assert_allclose(values / step, np.rint(values / step), atol=1e-2, err_msg=name)


def test_evaluating_prints_the_figures_that_were_published(trained):
    output = call("evaluate", "two-layers@1", "--store", str(trained / "store"), "--device", "cpu")
    published = read_package(trained / "store" / "two-layers" / "1").quality[0]
    assert "test_bound" in output
    assert f"{published.value:.4g}" in output


def test_a_run_that_still_pretrains_cannot_be_exported(trained, tmp_path):
    output = export_of_stage(trained, tmp_path, "two-layers", stage="rbm-2")
    assert "train on with --resume" in output


def test_parity_notices_another_machine(trained):
    package = package_of(trained, "two-layers")
    stranger = quantise_deep(deep_machine(64, 10, 8), bits=8)
    with pytest.raises(PackageError, match="sweep 0 has"):
        check_parity(package, stranger, updates=5, seed=0)


@pytest.mark.parametrize("model", MODELS)
async def test_the_service_draws_what_the_package_draws_for_the_same_seed(engine, trained, model):
    package = package_of(trained, model)
    (mine,) = sample(package, n=3, seed=7, sweeps=[8])
    served = await ask(engine, model, Sample(n=3, seed=7))
    assert served.samples.tobytes() == mine.tobytes()
    assert served.diagnostics.sweeps == 8


@pytest.mark.parametrize("model", MODELS)
async def test_the_service_fills_holes_and_keeps_what_is_known(engine, trained, model):
    hole = np.zeros((1, 8, 8), bool)
    hole[:, 2:6, 2:6] = True
    images = digits()
    served = await ask(engine, model, Inpaint(images=images, mask=hole.astype(np.float32), seed=4))
    filled = served.samples[:, 0]
    assert np.array_equal(filled[:, ~hole], images[:, ~hole])
    package = package_of(trained, model)
    mine = inpaint(package, images, hole, seed=4, sweeps=3)
    assert np.array_equal(mine[:, ~hole], images[:, ~hole])
    assert not np.array_equal(mine[:, hole], images[:, hole])


@pytest.mark.parametrize("model", MODELS)
async def test_paths_run_between_seeds_and_images(engine, model):
    """A chain of several layers hands `decode` the one that it takes."""
    ends = (SeedPoint(seed=1), SeedPoint(seed=2))
    path = await ask(engine, model, Interpolate(points=ends, frames=5))
    assert path.frames.shape == (5, 1, 8, 8)
    assert path.latents.shape == (5, 10)
    assert set(np.unique(path.latents[0])) <= {0.0, 1.0}
    alone = await ask(engine, model, Sample(n=1, seed=1))
    assert np.array_equal(path.frames[0], alone.samples[0])
    mixed = (ImagePoint(image=digits(1)[0]), SeedPoint(seed=2))
    crossing = await ask(engine, model, Interpolate(points=mixed, frames=3))
    assert np.array_equal(crossing.frames[-1], path.frames[-1])


async def test_images_are_classified_by_the_classifier_that_was_tuned(engine, trained):
    answer = await ask(engine, "two-layers", Classify(images=digits(9)))
    assert answer.labels == tuple("0123456789")
    run = trained / "runs" / "two-layers"
    machine = read_weights(package_of(trained, "two-layers"))
    rule = MeanField(updates=5, tolerance=0.0)
    tuned = trained_classifier(machine, rule, run)
    rows = torch.from_numpy(digits(9).reshape(9, -1))
    expected = torch.softmax(as_exported(tuned).logits(classifier_inputs(machine, rows, rule)), 1)
    np.testing.assert_allclose(answer.probabilities, expected, atol=1e-5)
    figures = {q.name: q for q in read_package(trained / "store/two-layers/1").quality}
    assert 0 <= figures["test_error"].value <= 100
    assert trained_classifier(deep_machine(64, 10, 8), rule, run) is None


def test_an_unrolled_machine_first_gives_its_own_mean_field():
    machine = deep_machine(6, 5, 4, 3, scale=0.5).to(torch.float32)
    x = torch.rand(7, 6, generator=torch.Generator().manual_seed(0))
    rule = MeanField(updates=500, tolerance=1e-7)
    mu = mean_field(machine, x, rule)
    net = unrolled(machine, labels=2)
    inputs = classifier_inputs(machine, x, rule)
    h = inputs[0]
    for layer in (1, 2, 3):
        joined = torch.cat([h, inputs[layer]], 1) if layer < 3 else h
        h = torch.sigmoid(joined @ net.W[layer - 1] + net.b[layer - 1])
        torch.testing.assert_close(h, mu[layer], atol=1e-5, rtol=1e-4)
    assert net.logits(inputs).abs().max() == 0


@pytest.mark.parametrize("model", MODELS)
async def test_images_are_encoded_reconstructed_and_scored(engine, model):
    features = await ask(engine, model, Encode(images=digits()))
    assert features.features.shape == (3, 10)
    again = await ask(engine, model, Reconstruct(images=digits()))
    assert again.images.shape == (3, 1, 8, 8)
    scored = await ask(engine, model, Score(images=digits(), explain=True))
    assert scored.method == "negative_bound"
    assert ((scored.p_values > 0) & (scored.p_values <= 1)).all()
    assert scored.heatmaps.shape == (3, 1, 8, 8)
