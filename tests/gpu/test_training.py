"""Every recipe of a Boltzmann machine walks its path on a GPU, and goes on after a stop."""

import os
import signal

import pytest

from tests.training import test_bm_recipe, test_dbm_recipe, test_dbn_recipe, test_gaussian_recipe
from tests.training.test_training_cli import RECIPE, call
from training.run import ProgressLine

LAYERS = test_dbm_recipe.LAYER * 2 + test_dbm_recipe.CLASSIFY
RECIPES = {
    "rbm": RECIPE,
    "labels-and-ladder": RECIPE.replace("hidden = 8", "hidden = 8\nlabels = true").replace(
        "[train]", '[train]\nchains = "trajectory"'
    ),
    "tempering": RECIPE.replace("[train]", '[train]\nchains = "tempering"'),
    "bm": test_bm_recipe.RECIPE.format(name="bm", visible_links="all", hidden_links="all"),
    "dbm": test_dbm_recipe.RECIPE.format(name="dbm", hidden=[10, 8]) + LAYERS,
    "dbn": test_dbn_recipe.RECIPE.format(name="dbn", hidden=[10, 12], labels="true")
    + test_dbn_recipe.LAYER
    + test_dbn_recipe.CLASSIFY,
    "gaussian": test_gaussian_recipe.RECIPE,
}


def stop_early(monkeypatch) -> None:
    """A signal at the first update, as a person or a scheduler would send it."""
    advance = ProgressLine.advance

    def advance_and_stop(self, **figures):
        advance(self, **figures)
        if self.steps == 1:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(ProgressLine, "advance", advance_and_stop)


@pytest.mark.parametrize("kind", RECIPES)
def test_a_training_runs_stops_resumes_and_is_published_on_a_gpu(
    kind, torch_gpu, tmp_path, monkeypatch
):
    assert torch_gpu
    pytest.importorskip("tensorboard", reason="trainings log to TensorBoard")
    (tmp_path / "tiny.toml").write_text(RECIPES[kind])
    words = [str(tmp_path / "tiny.toml"), "--store", str(tmp_path / "store"), "--runs",
             str(tmp_path / "runs"), "--device", "cuda"]  # fmt: skip
    stop_early(monkeypatch)
    assert "--resume" in call("train", *words, code=130)
    monkeypatch.undo()
    assert "published" in call("train", *words, "--resume")
