"""A deep belief network's whole path: recipe, package, evaluation, service."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
import torch

from service.contract import PackageError, Role, read_package
from service.errors import InvalidInput, MissingCapability
from service.queries import (
    Classify,
    Encode,
    Inpaint,
    Interpolate,
    Reconstruct,
    Sample,
    Score,
    SeedPoint,
)
from tests.training.served_machines import DATA, EVALUATE, LAYER, ask, digits, package_of, train_all
from tests.training.test_training_cli import call
from training.classifier import restored_classifier
from training.classifier_graph import as_exported
from training.dbn_export import check_parity
from training.dbn_weights import read_weights
from training.package_sweeps import sample
from training.quantised_network import quantise_network

RECIPE = """
name = "{name}"
kind = "dbn"
seed = 3
[model]
hidden = {hidden}
labels = {labels}
[train]
phases = [{{ epochs = 2, batch = 20, chains = 20, sweeps = 1 }}]
greedy_epochs = 1
monitor_betas = 20
[export]
burn_in = 8
"""
RECIPE += DATA + EVALUATE
CLASSIFY = """
[classify]
epochs = 3
batch = 20
affine = 0.5
[guide]
updates = 3
strength = 2.0
"""
MODELS = {"labelled": ([10, 12], "true"), "unlabelled": ([10, 8, 12], "false")}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    recipes = {
        name: RECIPE.format(name=name, hidden=hidden, labels=labels) + LAYER * (len(hidden) - 1)
        for name, (hidden, labels) in MODELS.items()
    }
    recipes["labelled"] += CLASSIFY
    return train_all(folder, recipes)


@pytest.mark.parametrize("model", MODELS)
def test_training_publishes_a_package_with_bounds(trained, model):
    manifest = read_package(trained / "store" / model / "1")
    assert manifest.family == "dbn"
    classifies = ["classify"] if model == "labelled" else []
    assert manifest.capabilities == (
        "sample", "interpolate", "score", "encode", "reconstruct", *classifies,
    )  # fmt: skip
    names = [q.name for q in manifest.quality]
    assert names[:3] == ["test_bound", "test_bound_float_weights", "test_bound_reverse_ais"]
    assert ("test_error_of_the_top_machine" in names) == (model == "labelled")
    assert ("test_error" in names) == (model == "labelled")
    assert all(manifest.functions[f].exact for f in ("sweep", "start", "readout"))


def test_the_published_weights_are_the_network_that_is_served(trained):
    package = package_of(trained, "labelled")
    dbn = read_weights(package)
    assert dbn.labels == 10
    assert dbn.top.W.shape == (20, 12)
    rows = torch.from_numpy(digits().reshape(3, -1))
    features = package.run("encode", x=digits())["h"]
    np.testing.assert_allclose(features, torch.sigmoid(dbn.layers[0].recognise(rows)), atol=1e-5)
    assert read_weights(package_of(trained, "unlabelled")).labels == 0


def test_evaluating_prints_the_figures_that_were_published(trained):
    output = call("evaluate", "labelled@1", "--store", str(trained / "store"), "--device", "cpu")
    published = read_package(trained / "store" / "labelled" / "1").quality[0]
    assert "test_bound" in output
    assert f"{published.value:.4g}" in output


def test_parity_notices_another_network(trained):
    package = package_of(trained, "labelled")
    dbn = read_weights(package)
    negative = replace(dbn, top=replace(dbn.top, W=0.5 - dbn.top.W))
    with pytest.raises(PackageError, match="sweep 0 has"):
        check_parity(package, quantise_network(negative, bits=8), seed=0)


async def test_the_service_draws_the_labels_that_are_asked_for(engine, trained):
    package = package_of(trained, "labelled")
    for labels in ((3,), (1, 4, 9)):
        held = {Role.LABEL: np.resize(np.array(labels), 3)}
        (mine,) = sample(package, n=3, seed=7, sweeps=[8], fixed=held)
        served = await ask(engine, "labelled", Sample(n=3, seed=7, labels=labels))
        assert served.samples.tobytes() == mine.tobytes()


async def test_labels_that_are_not_asked_for_follow_from_the_seed_and_the_row(engine):
    few, many = [await ask(engine, "labelled", Sample(n=n, seed=5)) for n in (3, 20)]
    assert few.samples.tobytes() == many.samples[:3].tobytes()
    assert few.diagnostics.sweeps == 8
    path = await ask(
        engine, "labelled", Interpolate(points=(SeedPoint(seed=5), SeedPoint(seed=6)), frames=3)
    )
    assert np.array_equal(path.frames[0], few.samples[0])


async def test_warm_chains_of_every_label_can_be_had_without_asking(engine):
    pool = engine.registry.get("labelled").pool
    assert pool is not None
    for _ in range(1000):
        if pool.ready:
            break
        await asyncio.sleep(0.01)
    drawn = await ask(engine, "labelled", Sample(n=5, start="pool"))
    assert drawn.samples.shape == (5, 1, 8, 8)
    with pytest.raises(InvalidInput, match="leave labels out"):
        await ask(engine, "labelled", Sample(n=5, start="pool", labels=(1,)))


@pytest.mark.parametrize(
    ("model", "query", "complaint"),
    [
        ("unlabelled", Sample(labels=(1,)), "not conditional"),
        ("labelled", Sample(labels=(10,)), "between 0 and 9"),
        ("labelled", Sample(n=3, labels=(1, 2)), "2 labels for 3 samples"),
    ],
)
async def test_labels_that_cannot_be_drawn_are_refused(engine, model, query, complaint):
    with pytest.raises(InvalidInput, match=complaint):
        await ask(engine, model, query)


async def test_a_directed_network_does_not_fill_holes(engine):
    hole = np.zeros((1, 8, 8), np.float32)
    hole[:, 2:6] = 1
    with pytest.raises(MissingCapability):
        await ask(engine, "labelled", Inpaint(images=digits(), mask=hole))


@pytest.mark.parametrize("model", MODELS)
async def test_images_are_encoded_reconstructed_and_scored(engine, model):
    units = 10 if model == "labelled" else 8
    assert (await ask(engine, model, Encode(images=digits()))).features.shape == (3, units)
    assert (await ask(engine, model, Reconstruct(images=digits()))).images.shape == (3, 1, 8, 8)
    scored = await ask(engine, model, Score(images=digits(), explain=True))
    assert ((scored.p_values > 0) & (scored.p_values <= 1)).all()
    assert scored.heatmaps.shape == (3, 1, 8, 8)


async def test_images_are_classified_by_the_classifier_that_was_tuned(engine, trained):
    answer = await ask(engine, "labelled", Classify(images=digits(9)))
    assert answer.labels == tuple("0123456789")
    tuned = restored_classifier(trained / "runs" / "labelled" / "classifier")
    expected = torch.softmax(
        as_exported(tuned).logits([torch.from_numpy(digits(9).reshape(9, -1))]), 1
    )
    np.testing.assert_allclose(answer.probabilities, expected, atol=1e-5)
