"""A machine with label units: its gradient, its exact p(y | v), its graphs, its whole path."""

import numpy as np
import pytest
import torch

from service.contract import Role, read_package
from service.engine import open_engine
from service.errors import MissingCapability
from service.queries import Call, Classify, Inpaint, Sample, Score
from service.settings import Settings
from tests.training.test_exact import machine
from tests.training.test_rbm_export import session
from tests.training.test_training_cli import RECIPE, call, places
from training.exact import binary_states, state_index
from training.label_graphs import Labelled, labelled_functions
from training.label_units import (
    draw_visible,
    free_energies,
    label_probabilities,
    log_evidence,
    with_label,
)
from training.package import Package
from training.quantised import quantise
from training.rbm import Rbm, draw
from training.rbm_chains import run_chains
from training.rbm_gradient import centred_gradient, statistics

PIXELS, LABELS, HIDDEN = 3, 3, 4


def states() -> torch.Tensor:
    """All 24 visible states with one label on, [24, 6]."""
    pixels = binary_states(PIXELS).repeat_interleave(LABELS, 0)
    return with_label(pixels, torch.arange(LABELS).repeat(2**PIXELS), labels=LABELS)


def joint(rbm: Rbm) -> torch.Tensor:
    """p(v, y) of each of `states`."""
    return torch.softmax(-rbm.to(torch.float64).free_energy(states()), 0)


def test_the_probabilities_of_a_label_are_the_conditionals_of_the_joint():
    rbm = machine(PIXELS + LABELS, HIDDEN, seed=1)
    p = joint(rbm).view(-1, LABELS)
    found = label_probabilities(rbm, binary_states(PIXELS), labels=LABELS)
    torch.testing.assert_close(found, p / p.sum(1, keepdim=True))
    evidence = log_evidence(rbm, binary_states(PIXELS), labels=LABELS)
    torch.testing.assert_close(torch.softmax(evidence, 0), p.sum(1))


def test_the_gradient_is_that_of_the_exact_joint_likelihood():
    rbm = machine(PIXELS + LABELS, HIDDEN, seed=2)
    data = states()[[0, 4, 11, 23, 23]]
    leaf = Rbm(*(t.clone().requires_grad_() for t in (rbm.W, rbm.b, rbm.c)))
    log_z = torch.logsumexp(-leaf.free_energy(states()), 0)
    likelihood = -leaf.free_energy(data).mean() - log_z
    expected = torch.autograd.grad(likelihood, (leaf.W, leaf.b, leaf.c))
    p = joint(rbm)
    model = statistics(rbm, states())
    h = torch.sigmoid(rbm.hidden_input(states()))
    exact = type(model)(vh=(p[:, None] * states()).T @ h, v=p @ states(), h=p @ h)
    found = centred_gradient(
        data=statistics(rbm, data),
        model=exact,
        visible_offset=torch.zeros(PIXELS + LABELS).double(),
        hidden_offset=torch.zeros(HIDDEN).double(),
    )
    for one, other in zip((found.W, found.b, found.c), expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.statistical
def test_sweeps_with_labels_leave_the_exact_joint_where_it_is():
    rbm, n = machine(PIXELS + LABELS, HIDDEN, seed=3).to(torch.float32), 20_000
    p, g = joint(rbm), torch.Generator().manual_seed(1)
    v = states().float()[torch.multinomial(p, n, replacement=True, generator=g)]
    h = draw(torch.sigmoid(rbm.hidden_input(v)), g)
    floor = 0.5 * float((p * (1 - p) / n).sqrt().sum())
    for sweeps in (1, 4, 16):
        v, _ = run_chains(rbm, h, sweeps=sweeps, precision="float32", generator=g, labels=LABELS)
        index = state_index(v[:, :PIXELS]) * LABELS + v[:, PIXELS:].argmax(1)
        seen = torch.bincount(index, minlength=24) / n
        assert 0.5 * float((seen - p).abs().sum()) < 4 * floor, f"after {sweeps} sweeps"


@pytest.mark.statistical
@pytest.mark.parametrize("beta", [1.0, 0.6])
def test_the_exported_sweep_at_a_label_leaves_p_of_h_given_the_label_where_it_is(beta):
    whole = Labelled(quantise(machine(PIXELS + LABELS, HIDDEN, seed=4), bits=8), LABELS)
    functions = labelled_functions(whole, base_bias=np.zeros(PIXELS, np.float32), shape=(1, 1, 3))
    rbm, n, label = whole.rbm.dequantised().to(torch.float64), 20_000, 2
    h = binary_states(HIDDEN)
    given = Rbm(W=beta * rbm.W[:PIXELS], b=beta * rbm.b[:PIXELS],
                c=beta * (rbm.c + rbm.W[PIXELS + label]))  # fmt: skip
    p = torch.softmax(-given.hidden_free_energy(h), 0)
    rng = np.random.default_rng(1)
    state = h.numpy().astype(np.uint8)[rng.choice(2**HIDDEN, n, p=p.numpy() / p.numpy().sum())]
    run = session(functions["sweep"])
    floor = 0.5 * float((p * (1 - p) / n).sqrt().sum())
    for done in range(1, 17):
        feed = {
            "h": state,
            "label": np.full(n, label),
            "noise_v": rng.logistic(size=(n, PIXELS)).astype(np.float32),
            "noise_h": rng.logistic(size=(n, HIDDEN)).astype(np.float32),
            "beta": np.full((n, 1), beta, np.float32),
        }
        state = run.run(None, feed)[0]
        if done in {1, 4, 16}:
            seen = np.bincount(state_index(torch.from_numpy(state)).numpy(), minlength=len(p)) / n
            assert 0.5 * np.abs(seen - p.numpy()).sum() < 4 * floor, f"after {done} sweeps"


def test_the_float_graphs_agree_with_torch():
    rbm = machine(20 + LABELS, 7, seed=5, scale=0.5)
    whole = Labelled(quantise(rbm, bits=8), LABELS)
    functions = labelled_functions(whole, base_bias=np.zeros(20, np.float32), shape=(1, 4, 5))
    exact = whole.rbm.dequantised()
    x = np.random.default_rng(1).random((9, 1, 4, 5), dtype=np.float32)
    rows = torch.from_numpy(x.reshape(9, 20))
    p = label_probabilities(exact, rows, labels=LABELS)
    found = session(functions["classify"]).run(None, {"x": x})[0]
    np.testing.assert_allclose(found, p, atol=1e-5)
    score, heatmap = session(functions["score"]).run(None, {"x": x})
    np.testing.assert_allclose(score, -log_evidence(exact, rows, labels=LABELS), rtol=1e-5)
    assert (heatmap >= 0).all()
    each = torch.sigmoid((rows @ exact.W[:20] + exact.c)[:, None] + exact.W[20:])
    features = session(functions["encode"]).run(None, {"x": x})[0]
    np.testing.assert_allclose(features, (p[:, :, None] * each).sum(1), atol=1e-5)
    h = (np.random.default_rng(2).random((5, 7)) < 0.5).astype(np.uint8)
    down = exact.visible_input(torch.from_numpy(h).float())
    pixels = torch.nn.functional.softplus(down[:, :20]).sum(1)
    energy = -torch.from_numpy(h).float() @ exact.c - pixels - torch.logsumexp(down[:, 20:], 1)
    found = session(functions["energy"]).run(None, {"h": h})[0]
    np.testing.assert_allclose(found, energy, rtol=1e-5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A classifier trained on the trajectory ladder, through the command."""
    folder = tmp_path_factory.mktemp("labelled")
    recipe = RECIPE.replace("hidden = 8", "hidden = 32\nlabels = true")
    keys = 'chains = "trajectory"\nlearning_rate = 0.2\nema_decay = 0.9'
    recipe = recipe.replace("[train]", f"[train]\n{keys}")
    recipe = recipe.replace("epochs = 2, batch = 20", "epochs = 30, batch = 20")
    (folder / "tiny.toml").write_text(recipe)
    call("train", str(folder / "tiny.toml"), *places(folder), "--threads", "1",
         "--set", "train.monitor_every=30")  # fmt: skip
    return folder / "store" / "tiny-rbm" / "1"


def test_a_package_with_label_units_says_what_it_can_and_how_well(trained):
    manifest = read_package(trained)
    assert {"sample", "classify", "score", "reconstruct"} <= set(manifest.capabilities)
    assert "inpaint" not in manifest.capabilities
    assert manifest.labels.names == tuple("0123456789")
    assert manifest.functions["sweep"].input(Role.LABEL) is not None
    figures = {q.name: q for q in manifest.quality}
    assert figures["test_error"].value < 60  # ten classes: 90 % by chance
    ladder = figures["test_log_probability_by_ladder"]
    by_ais = figures["test_log_probability_float_weights"].value
    assert ladder.value == pytest.approx(by_ais, abs=1.5)
    card = (trained / "card.md").read_text()
    assert "trajectory tempering" in card
    assert "label units" in card


def test_the_weights_of_a_package_score_its_images_with_labels_summed_out(trained):
    package = Package(trained)
    x = np.random.default_rng(0).random((3, 1, 8, 8), dtype=np.float32)
    p = package.run("classify", x=x)["probabilities"]
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    assert package.manifest.provenance["recipe"]["model"]["labels"] is True


async def test_the_service_samples_by_class_and_says_that_it_cannot_fill_holes(trained):
    engine = await open_engine(Settings(models_store=trained.parents[1], device="cpu"))

    async def ask(query):
        return await engine.run(engine.registry.get("tiny-rbm"), query, Call.lasting(30))

    try:
        x = (await ask(Sample(n=4, seed=1, labels=(3, 3, 5, 5)))).samples
        assert x.shape == (4, 1, 8, 8)
        assert (await ask(Classify(images=x))).probabilities.shape == (4, 10)
        assert np.isfinite((await ask(Score(images=x))).scores).all()
        hole = np.zeros((1, 8, 8), np.float32)
        hole[:, 2:6] = 1
        with pytest.raises(MissingCapability):
            await ask(Inpaint(images=x, mask=hole))
    finally:
        await engine.stop()


def test_free_energies_of_a_machine_without_labels_are_its_own():
    rbm = machine(5, 3, seed=1)
    v = binary_states(5)
    torch.testing.assert_close(free_energies(rbm, v, labels=0)[:, 0], rbm.free_energy(v))
    drawn = draw_visible(rbm.visible_input(torch.zeros(4, 3).double()), labels=0,
                         generator=torch.Generator())  # fmt: skip
    assert drawn.shape == (4, 5)
