"""Modes of generators of points and of stacked digits: trials, resuming, tables and commands."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from training.benchmarks import modes as benchmark
from training.benchmarks.cli import app
from training.benchmarks.inpainting import Work
from training.benchmarks.modes import as_points, run_modes
from training.benchmarks.modes_config import ModesConfig, load_modes_config
from training.benchmarks.modes_report import modes_grids, stacked_grid, summary
from training.benchmarks.stacked import (
    MODES,
    against_images_seen,
    floor,
    load_stacked_config,
    modes_seen,
)
from training.config import ConfigError
from training.data import load
from training.eyes import eye_for
from training.planar import PLANAR_SETS
from training.run import Interrupted, RunConflict, TrainingDiverged

CONFIGS = Path(__file__).parents[2] / "training/configs"
TINY = {
    "name": "tiny-modes",
    "sets": ["grid"],
    "trials": 2,
    "model": {"width": 8, "depth": 2},
    "train": {"steps": 4, "batch": 8, "judge_every": 2, "save_every": 2, "log_every": 1},
    "methods": {
        "gan": {"title": "GAN", "train": {"loss": "non_saturating"}},
        "choices": {"title": "choices", "model": {"latent": 6, "choices": 4, "waves": 2}},
    },
}
CONFIG = ModesConfig.model_validate(TINY)


def work(folder, *, stop=False):
    return Work(folder=folder, stop=lambda: stop, on_done=lambda *_: None)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("modes")
    return run_modes(CONFIG, work=work(folder)), folder


def test_every_method_has_as_many_trials_and_the_floor_is_that_of_real_points(done):
    results, folder = done
    assert {m: len(trials) for m, trials in results["sets"]["grid"].items()} == {
        "gan": 2,
        "choices": 2,
    }
    assert results["floor"]["grid"]["captured"] == 25
    assert results["floor"]["grid"]["high_quality"] > 0.98
    points = np.load(folder / "grid/gan/seed-0/points.npy")
    assert points.shape == (2500, 2)
    (figures,) = [results["sets"]["grid"]["gan"][0]]
    again = PLANAR_SETS["grid"].figures(points)
    assert (figures["captured"], figures["high_quality"]) == (again.captured, again.high_quality)


def test_the_instruments_are_in_the_log(done):
    _, folder = done
    lines = (folder / "grid/gan/seed-1/metrics.jsonl").read_text().splitlines()
    judged = [json.loads(line) for line in lines if "judge__modes" in line]
    assert [line["step"] for line in judged] == [2, 4]
    wanted = {"judge__high_quality", "judge__recall", "judge__coverage", "judge__reverse_kl"}
    assert wanted <= set(judged[0])


def test_seeds_differ_and_finished_trials_are_read_again(done, monkeypatch):
    results, folder = done
    first, second = (np.load(folder / f"grid/gan/seed-{s}/points.npy") for s in (0, 1))
    assert not np.array_equal(first, second)
    monkeypatch.setattr(benchmark, "train_gan", lambda *_, **__: pytest.fail("trained again"))
    assert run_modes(CONFIG, work=work(folder)) == results
    with pytest.raises(Interrupted, match="before gan on the grid, seed 0"):
        run_modes(CONFIG, work=work(folder, stop=True))
    other = CONFIG.model_copy(update={"train": CONFIG.train.model_copy(update={"steps": 5})})
    with pytest.raises(RunConflict, match="--fresh"):
        run_modes(
            ModesConfig.model_validate(other.model_dump(exclude_unset=True) | {"trials": 1}),
            work=work(folder),
        )


def test_a_training_that_diverges_has_captured_nothing(tmp_path, monkeypatch):
    def diverge(*_, **__):
        raise TrainingDiverged("the loss is not finite")

    monkeypatch.setattr(benchmark, "train_gan", diverge)
    results = run_modes(CONFIG.model_copy(update={"trials": 1}), work=work(tmp_path))
    (trial,) = results["sets"]["grid"]["gan"]
    assert (trial["captured"], trial["high_quality"]) == (0, 0.0)
    assert "not finite" in trial["diverged"]


def test_tables_have_means_and_mark_the_best():
    def trial(captured, quality):
        return {"captured": captured, "modes": 25, "high_quality": quality, "reverse_kl": 0.5}

    results = {
        "config": {"methods": {"a": {"title": "A"}, "b": {"title": "B"}}},
        "sets": {"grid": {"a": [trial(25, 0.9), trial(25, 1.0)], "b": [trial(20, 0.5)] * 2}},
        "floor": {"grid": trial(25, 0.99)},
    }
    (grid,) = modes_grids(results)
    assert grid.title == "grid: means over the trials"
    assert grid.rows[0][:4] == ("A", "**25.0**", "2 of 2", "**95.0%**")
    assert grid.rows[1][:4] == ("B", "20.0", "0 of 2", "50.0%")
    assert grid.rows[2][0] == "real points"
    assert summary([trial(1, 0.0)])["whole"] == 0


def test_players_see_points_in_a_square_around_nought():
    planar = PLANAR_SETS["ring"]
    points = as_points(planar.to_unit(planar.centres.astype(np.float32))).numpy()
    np.testing.assert_allclose(points, planar.centres / planar.reach, atol=1e-6)


@pytest.mark.parametrize("smoke", [False, True])
def test_the_published_configurations_are_valid(smoke):
    config = load_modes_config(CONFIGS / "modes.toml", smoke=smoke)
    assert {"gan", "packing-2", "r3gan"} <= set(config.methods)
    assert load_stacked_config(CONFIGS / "stacked-mnist.toml", smoke=smoke).data.name
    assert config.training("gan").loss == "non_saturating"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"methods": {"a": {"title": "A", "train": {"loss": "none"}}}}, r"methods\.a: loss"),
        ({"methods": {"a": {"title": "A", "model": {"choices": 9}}}}, r"methods\.a.*choices=9"),
        ({"methods": {}}, "methods"),
    ],
)
def test_a_method_that_makes_no_sense_is_refused(change, told):
    with pytest.raises(ValueError, match=told):
        ModesConfig.model_validate(TINY | change)


def test_an_unknown_key_is_told_by_its_name():
    with pytest.raises(ConfigError, match=r"train\.step is not a key"):
        load_modes_config(CONFIGS / "modes.toml", ["train.step=3"])


def test_methods_may_be_picked_and_one_that_is_not_there_is_told():
    assert list(CONFIG.only(["choices"]).methods) == ["choices"]
    assert CONFIG.only([]) == CONFIG
    with pytest.raises(ConfigError, match="'unrolled' is not in the file, which has gan, choices"):
        CONFIG.only(["unrolled"])


def test_only_what_is_finished_is_reported_if_that_is_asked(done, monkeypatch):
    _, folder = done
    monkeypatch.setattr(benchmark, "train_gan", lambda *_, **__: pytest.fail("trained"))
    more = CONFIG.model_copy(update={"trials": 5, "sets": ("grid", "ring")})
    results = run_modes(more, work=work(folder), only_finished=True)
    assert [len(trials) for trials in results["sets"]["grid"].values()] == [2, 2]
    assert [len(trials) for trials in results["sets"]["ring"].values()] == [0, 0]
    assert [grid.title for grid in modes_grids(results)] == ["grid: means over the trials"]


def test_modes_of_numbers_are_those_that_are_there():
    captured, divergence = modes_seen(np.array([0, 0, 999, 999]))
    assert captured == 2
    assert divergence == pytest.approx(np.log(MODES / 2))


def test_real_stacked_digits_are_the_floor():
    test = load({"name": "stacked-mnist", "limit": 300}, "test")
    found = floor(eye_for("stacked-mnist", test.shape), test, n=5000, seed=0)
    assert found["captured"] > 950
    assert 0 < found["reverse_kl"] < 0.3


def test_modes_are_told_against_images_seen(tmp_path):
    lines = [
        {"step": 10, "loss__d": 0.1},
        {"step": 10, "stacked__modes": 100.0, "stacked__reverse_kl": 3.0},
        {"step": 20, "stacked__modes": 900.0, "stacked__reverse_kl": 0.5},
    ]
    log = tmp_path / "metrics.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    figures = against_images_seen(log, batch=64)
    assert figures == [
        {"images_seen": 640, "captured": 100, "reverse_kl": 3.0},
        {"images_seen": 1280, "captured": 900, "reverse_kl": 0.5},
    ]
    grid = stacked_grid({"figures": figures, "floor": {"captured": 1000, "reverse_kl": 0.02}})
    assert grid.rows == (
        ("640", "100", "3.000"),
        ("1,280", "900", "0.500"),
        ("real test images", "1,000", "0.020"),
    )


def call(*words):
    result = CliRunner().invoke(app, [*map(str, words)], env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.slow
def test_the_commands_print_their_tables_and_write_them(tmp_path):
    places = ["--runs", tmp_path, "--out", tmp_path / "out", "--quick", "--threads", 1]
    printed = call("modes", CONFIGS / "modes.toml", "--methods", "gan,packing-2", *places)
    assert "GAN, packing 2" in printed
    assert "real points" in printed
    assert json.loads((tmp_path / "out/modes.json").read_text())["judged_points"] == 2500
    assert "images seen" in call("stacked", CONFIGS / "stacked-mnist.toml", *places)
    assert json.loads((tmp_path / "out/stacked.json").read_text())["floor"]["captured"] > 0
