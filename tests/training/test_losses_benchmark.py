"""The table of losses: every game on the same images, what is done is kept, and the best marked."""

from pathlib import Path

import pytest

from training.benchmarks.inpainting import Work
from training.benchmarks.losses import losses_grid, run_losses
from training.benchmarks.losses_config import load_losses_config
from training.config import ConfigError
from training.losses import LOSSES
from training.run import Interrupted, RunConflict

CONFIG = Path(__file__).parents[2] / "training/configs/losses.toml"
TINY = ("images=64", "samples=40", "data.limit=100", "train.batch=16")


def tiny(*overrides: str):
    return load_losses_config(CONFIG, [*TINY, *overrides], smoke=True)


def work(folder: Path, done: list[str], *, stop=lambda: False) -> Work:
    return Work(folder=folder, stop=stop, on_done=lambda what, _: done.append(what))


def test_every_loss_has_a_row():
    games = load_losses_config(CONFIG).games
    named = {game.train["loss"] for game in games.values()}
    assert named == set(LOSSES)
    assert len(games) == 8


def test_a_critic_that_moves_twice_sees_as_many_images():
    config = load_losses_config(CONFIG)
    for game in config.games:
        how = config.training(game)
        assert how.steps * how.batch * how.n_critic == config.images


def test_a_game_that_cannot_be_played_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"games\.hinge.*label_smoothing"):
        tiny("games.hinge.train.label_smoothing=0.1")


def test_the_table_is_made_once_and_read_again(tmp_path):
    config = tiny("games.minimax.train={}")
    two = config.model_copy(update={"games": {k: config.games[k] for k in ("minimax", "hinge")}})
    done: list[str] = []
    calls = iter(range(100))
    with pytest.raises(Interrupted, match=r"stopped before hinge|of 4"):
        run_losses(two, work=work(tmp_path, done, stop=lambda: next(calls) >= 4))
    first = run_losses(two, work=work(tmp_path, done))
    again = run_losses(two, work=work(tmp_path, []))
    assert first == again
    grid = losses_grid(first)
    assert [row[0] for row in grid.rows] == [
        "minimax",
        "hinge, spectral norm",
        "training images",
    ]
    assert sum(row[1].startswith("**") for row in grid.rows) == 1
    with pytest.raises(RunConflict, match="other settings"):
        run_losses(two.model_copy(update={"samples": 41}), work=work(tmp_path, []))
