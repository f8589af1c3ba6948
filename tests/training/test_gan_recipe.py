"""The whole path of a GAN's recipe on a handful of digits: train, publish, resume, evaluate."""

from pathlib import Path

import pytest
import torch

from training.config import ConfigError, Workspace, load_config
from training.graph_file import LARGE
from training.package import Package
from training.recipes.gan import RECIPE
from training.run import Interrupted, Run

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).parents[2] / "training/configs/mnist-dcgan.toml"
TINY = (
    "train.steps=4",
    "train.judge_every=2",
    "train.save_every=2",
    "encoder.steps=2",
    "evaluate.samples=100",
    "evaluate.neighbours=100",
    "evaluate.duplicates=10",
    "evaluate.inpainted=8",
    "export.torchscript=true",
)


def workspace(folder: Path, *, resume: bool = False) -> Workspace:
    return Workspace(
        run=folder / "run",
        store=folder / "store",
        device="cpu",
        resume=resume,
        smoke=True,
        command="reverie train",
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Package]:
    folder = tmp_path_factory.mktemp("gan")
    recipe, config = load_config(CONFIG, TINY, smoke=True)
    return folder, Package(recipe.train(config, workspace(folder)))


def test_the_path_ends_in_a_package_that_can_do_everything(made):
    _, package = made
    manifest = package.manifest
    assert manifest.id == "mnist-dcgan@1"
    assert set(manifest.capabilities) == {
        "sample",
        "interpolate",
        "inpaint",
        "score",
        "encode",
        "reconstruct",
    }
    assert manifest.scores[0].method == "izi_f"
    assert manifest.scores[0].calibration.n == 200
    assert manifest.defaults.inpaint_steps == 5
    assert {"preview.png", "inpainting.png", "card.md", "generate.torchscript.pt"} <= set(
        manifest.files
    )


def test_every_figure_states_its_protocol_and_its_command(made):
    _, package = made
    quality = {q.name: q for q in package.manifest.quality}
    assert {"frechet_distance", "recall", "class_kl_to_uniform", "p_value_share"} <= set(quality)
    assert all(q.protocol and q.command.startswith("reverie evaluate") for q in quality.values())
    assert "judge sha256" in quality["frechet_distance"].protocol
    assert quality["frechet_distance"].floor < quality["frechet_distance"].value


@pytest.mark.parametrize("weights", ["float16", "float32"])
def test_weights_are_published_in_sixteen_bits_unless_that_is_switched_off(
    made, monkeypatch, weights
):
    published = []

    def caught(_store, _config, _workspace, trained, **_):
        published.append(trained)
        raise Interrupted("seen enough")

    monkeypatch.setattr("training.recipes.gan.publish_gan", caught)
    folder, _ = made
    _, config = load_config(CONFIG, [*TINY, f"export.weights={weights}"], smoke=True)
    with pytest.raises(Interrupted):
        RECIPE.export(config, workspace(folder, resume=True))
    for network in (published[0].generator, published[0].encoder, published[0].discriminator):
        large = [w for w in network.parameters() if w.dim() > 1 and w.numel() >= LARGE]
        assert large
        for weight in large:
            assert torch.equal(weight.half().float(), weight) == (weights == "float16")


def test_the_run_left_sheets_and_logs_on_the_way(made):
    folder, _ = made
    assert len(list((folder / "run/samples").glob("samples-*.png"))) == 2
    assert (folder / "run/metrics.jsonl").read_text().count("judge__frechet") == 2


def test_a_finished_run_resumes_to_the_same_functions(made):
    folder, package = made
    recipe, config = load_config(CONFIG, TINY, smoke=True)
    again = Package(recipe.train(config, workspace(folder, resume=True)))
    assert again.manifest.digest == package.manifest.digest


def test_evaluate_gives_the_figures_of_the_card_again(made):
    _, package = made
    _, config = load_config(CONFIG, TINY, smoke=True)
    figures = RECIPE.evaluate(package.directory, config, False, "cpu")
    assert [(f.name, f.value) for f in figures] == [
        (q.name, q.value) for q in package.manifest.quality
    ]


def test_nothing_is_exported_from_an_empty_run(tmp_path):
    recipe, config = load_config(CONFIG, TINY, smoke=True)
    Run(tmp_path / "run", resume=False, config={}).close()
    with pytest.raises(ValueError, match="no generator to export yet"):
        recipe.export(config, workspace(tmp_path))


def test_a_holdout_that_is_too_small_is_refused():
    with pytest.raises(ConfigError, match="holdout=4"):
        load_config(CONFIG, [*TINY, "data.holdout=4"], smoke=True)


@pytest.mark.parametrize(("key", "value"), [("data.holdout", 1500), ("model.classes", 4)])
def test_a_recipe_that_does_not_fit_its_data_is_refused(tmp_path, key, value):
    recipe, config = load_config(CONFIG, [*TINY, f"{key}={value}"], smoke=True)
    with pytest.raises(ConfigError, match=f"{key}={value}"):
        recipe.train(config, workspace(tmp_path))


@pytest.mark.parametrize(
    ("other", "remedy"), [(None, "no run with a checkpoint"), ({"seed": 9}, "another seed")]
)
def test_a_start_that_is_not_there_or_saw_what_is_held_out_is_refused(tmp_path, other, remedy):
    recipe, config = load_config(CONFIG, [*TINY, "start=first"], smoke=True)
    if other is not None:
        recorded = config.trained_part() | other
        run = Run(tmp_path / "first", resume=False, config=recorded)
        run.save(1, {"nothing": 0})
        run.close()
    with pytest.raises(ConfigError, match=remedy):
        recipe.train(config, workspace(tmp_path))


def test_a_conditional_recipe_ends_in_a_package_that_takes_labels(tmp_path):
    recipe, config = load_config(CONFIG.with_name("mnist-cgan.toml"), TINY, smoke=True)
    package = Package(recipe.train(config, workspace(tmp_path)))
    manifest = package.manifest
    assert manifest.labels.names == tuple("0123456789")
    assert "inpaint" in manifest.capabilities
    assert "reconstruct" in manifest.capabilities
    quality = {q.name: q for q in manifest.quality}
    assert {"samples_read_as_asked", "frechet_distance_even_labels"} <= set(quality)
    assert "asked for the labels of the floor" in quality["frechet_distance"].protocol
    assert "generate(z, label)" in (package.directory / "card.md").read_text()


@pytest.mark.parametrize("name", ["mnist-dcgan", "mnist-cgan", "cifar10-gan", "images-64"])
def test_every_recipe_of_a_gan_is_read_with_and_without_smoke(name):
    for smoke in (False, True):
        _, config = load_config(CONFIG.with_name(f"{name}.toml"), smoke=smoke)
        assert config.kind == "gan"
        assert config.train.steps < (100 if smoke else 100_000)
