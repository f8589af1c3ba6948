"""`reverie train | export | evaluate`, on a recipe that takes a second."""

import json
import os
import signal

import numpy as np
import pytest
import typer
from safetensors.numpy import load as load_safetensors
from typer.testing import CliRunner

from service.contract import read_package
from training import cli
from training.boltzmann_package import read_tensors
from training.package import Package
from training.run import stop_on_signals

RECIPE = """
name = "tiny-rbm"
kind = "rbm"
seed = 3
[data]
name = "digits"
limit = 300
holdout = 100
[model]
hidden = 8
[train]
phases = [{ epochs = 2, batch = 20, chains = 20, sweeps = 1 }]
monitor_betas = 20
[export]
burn_in = 5
inpaint_steps = 3
[evaluate]
betas = 50
runs = 20
reverse_runs = 10
reverse_burn_in = 5
"""


def app() -> typer.Typer:
    made = typer.Typer()
    for name in ("train", "export", "evaluate"):
        made.command(name)(getattr(cli, name))
    return made


def call(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app(), list(words), env={"COLUMNS": "120"})
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    (folder / "tiny.toml").write_text(RECIPE)
    call("train", str(folder / "tiny.toml"), *places(folder), "--threads", "1")
    return folder


def places(folder) -> list[str]:
    return ["--store", str(folder / "store"), "--runs", str(folder / "runs"), "--device", "cpu"]


def test_training_publishes_a_package_with_figures_and_pictures(trained):
    manifest = read_package(trained / "store" / "tiny-rbm" / "1")
    assert manifest.family == "rbm"
    assert manifest.defaults.burn_in == 5
    assert manifest.scores[0].calibration.n == 100
    names = [q.name for q in manifest.quality]
    assert names[:3] == [
        "test_log_probability",
        "test_log_probability_float_weights",
        "test_log_probability_reverse_ais",
    ]
    assert {"auroc_uniform_noise", "auroc_inverted", "p_value_share"} <= set(names)
    assert {"preview.png", "inpainting.png", "card.md"} <= set(manifest.files)
    assert manifest.provenance["seed"] == 3
    assert manifest.provenance["steps"] == 20
    assert "--store" not in manifest.provenance["command"]


def test_the_published_weights_are_the_dequantised_integers(trained):
    package = trained / "store" / "tiny-rbm" / "1"
    kept = load_safetensors((package / "weights.safetensors").read_bytes())
    assert kept["weight.1"].dtype == np.int8
    tensors = read_tensors(Package(package))
    assert {k: tuple(v.shape) for k, v in tensors.items()} == {
        "weight.1": (64, 8),
        "bias.0": (64,),
        "bias.1": (8,),
    }
    step = read_package(package).provenance["weight_step"]
    multiples = tensors["weight.1"].numpy() / step
    np.testing.assert_allclose(multiples, np.rint(multiples), atol=1e-3)
    assert np.abs(multiples).max() <= 127.001


def test_evaluating_prints_the_figures_that_were_published(trained):
    output = call("evaluate", "tiny-rbm@1", "--store", str(trained / "store"), "--device", "cpu")
    published = read_package(trained / "store" / "tiny-rbm" / "1").quality[0]
    assert "test_log_probability" in output
    assert f"{published.value:.4g}" in output
    assert "50 betas" in output
    quick = call("evaluate", str(trained / "store" / "tiny-rbm" / "1"), "--quick")
    assert "2 betas" in quick


@pytest.mark.parametrize("target", ["runs/tiny-rbm", "tiny.toml"])
def test_exporting_again_gives_the_same_model(trained, tmp_path, target):
    options = ["--store", str(tmp_path), "--runs", str(trained / "runs")]
    call("export", str(trained / target), *options)
    again = read_package(tmp_path / "tiny-rbm" / "1")
    assert again.digest == read_package(trained / "store" / "tiny-rbm" / "1").digest


def test_a_finished_run_can_be_resumed_and_is_published_again(trained, tmp_path):
    words = ["--store", str(tmp_path), "--runs", str(trained / "runs"), "--resume"]
    call("train", str(trained / "tiny.toml"), *words)
    assert (tmp_path / "tiny-rbm" / "1" / "manifest.json").exists()


def test_smoke_writes_into_a_run_of_its_own(trained, tmp_path):
    recipe = str(trained / "tiny.toml")
    for _ in range(2):
        call("train", recipe, "--smoke", "--runs", str(tmp_path))
    assert (tmp_path / "tiny-rbm-smoke" / "store" / "tiny-rbm" / "1" / "card.md").exists()
    kept = json.loads((tmp_path / "tiny-rbm-smoke" / "recipe.json").read_text())
    assert kept["smoke"] is True
    assert kept["command"].endswith("--smoke")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["train", "none.toml"], "does not exist"),
        (["train", "{recipe}", "--set", "model.hidden=0"], "model.hidden"),
        (["train", "{recipe}", "--set", "hidden"], "key=value"),
        (["train", "{recipe}", "--resume", "--fresh"], "exclude"),
        (["train", "{recipe}", "--runs", "{runs}"], "--resume, or start again with --fresh"),
        (
            ["train", "{recipe}", "--runs", "{runs}", "--resume", "--set", "seed=4"],
            "resume with the same one",
        ),
        (["train", "{recipe}", "--device", "tpu"], "auto, cpu or cuda"),
        (["evaluate", "nobody"], "nobody"),
        (["export", "{runs}"], "not a training run"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(trained, words, complaint):
    names = {"recipe": trained / "tiny.toml", "runs": trained / "runs"}
    result = CliRunner().invoke(app(), [word.format(**names) for word in words])
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.strip().splitlines()) == 1


def test_fresh_begins_again(trained, tmp_path):
    recipe, options = str(trained / "tiny.toml"), places(tmp_path)
    call("train", recipe, *options)
    call("train", recipe, *options, "--fresh", "--set", "seed=9")
    assert json.loads((tmp_path / "runs" / "tiny-rbm" / "config.json").read_text())["seed"] == 9
    manifest = read_package(tmp_path / "store" / "tiny-rbm" / "1")
    assert manifest.provenance["command"].endswith("--set seed=9")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_the_handlers_come_back(number):
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        assert signal.getsignal(number) is before
    assert signal.getsignal(number) is before


def test_an_interrupted_training_says_how_to_go_on_and_then_does(trained, tmp_path, monkeypatch):
    recipe, options = str(trained / "tiny.toml"), places(tmp_path)

    def interrupt_at_the_first_monitor(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("training.rbm_training.Monitor.log", interrupt_at_the_first_monitor)
    words = [recipe, *options, "--set", "train.monitor_every=1"]
    output = call("train", *words, code=130)
    assert "stopped at step 10 of 20" in output
    assert f"--set train.monitor_every=1 --store {tmp_path / 'store'}" in output
    assert "--resume" in output
    monkeypatch.undo()
    call("train", *words, "--resume")
    resumed = read_package(tmp_path / "store" / "tiny-rbm" / "1")
    whole = read_package(trained / "store" / "tiny-rbm" / "1")
    assert resumed.files["weights.safetensors"] == whole.files["weights.safetensors"]


@pytest.mark.parametrize("name", ["train", "export", "evaluate"])
def test_every_command_explains_itself(name):
    output = call(name, "--help")
    assert "Examples:" in output
    assert f"reverie {name}" in output
