"""Anomaly protocol A: what its scores are, that nothing is chosen on test data, and the command."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from training.benchmarks.anomaly_config import load_anomaly_config
from training.benchmarks.cli import app, parse_digits
from training.benchmarks.detectors import (
    FAMILIES,
    nearest_neighbours,
    principal_components,
)
from training.benchmarks.gan_scores import framed, gan_scores
from training.benchmarks.machines import machine_scores, turned
from training.benchmarks.normality import OUTSIDE_THE_PROTOCOL, Normality, flat
from training.benchmarks.protocol_a import Outcome, Splits, chosen_methods, run_protocol
from training.config import ConfigError
from training.run import Interrupted

CONFIG = Path(__file__).parents[2] / "training/configs/anomaly-rbm.toml"
TINY = """
name = "tiny-anomaly"
seed = 3
[data]
name = "digits"
holdout = 400
[model]
hidden = 8
[train]
phases = [{ epochs = 2, batch = 20, chains = 20, sweeps = 1 }]
[everyone]
epochs = 1
[gan]
model = { latent = 4, width = 4 }
train = { steps = 4, batch = 8, judge_every = 2, save_every = 2 }
encoder = { steps = 2, batch = 8 }
[baselines]
trees = 20
components = [2, 4]
[smoke.data]
name = "digits"
limit = 900
holdout = 300
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def config(recipe):
    return load_anomaly_config(recipe)


@pytest.fixture(scope="module")
def splits(config):
    return Splits.of(config)


def normality(splits, folder, digit=0):
    images = splits.train.take(splits.train.labels == digit)
    return Normality(
        digit=digit, images=images, everyone=splits.train, folder=folder, stop=lambda: False
    )


@pytest.fixture(scope="module")
def done(config, tmp_path_factory):
    """Two digits, and the folder where they are kept."""
    folder = tmp_path_factory.mktemp("runs")
    told = []
    results = run_protocol(
        config, [0, 1], folder=folder, stop=lambda: False, on_digit=lambda *a: told.append(a)
    )
    assert told == [(0, False), (1, False)]
    return results, folder


def again(config, folder, digits=(0, 1), stop=False):
    told = []
    results = run_protocol(
        config, digits, folder=folder, stop=lambda: stop, on_digit=lambda *a: told.append(a)
    )
    return results, told


def test_the_parts_of_the_data_share_no_image(splits):
    parts = (splits.train, splits.choosing, splits.calibration, splits.test)
    rows = [{row.tobytes() for row in flat(part)} for part in parts]
    assert [len(part) for part in parts] == [1037, 200, 200, 360]
    for i, one in enumerate(rows):
        assert not any(one & other for other in rows[i + 1 :])


@pytest.mark.parametrize(
    "learn", [learn for name, learn in FAMILIES.items() if name not in {"RBM", "GAN"}]
)
def test_aurocs_are_those_of_scikit_learn_on_the_same_scores(learn, done, config, splits, tmp_path):
    results, _ = done
    for method, score in learn(normality(splits, tmp_path), config).items():
        strange = splits.test.labels != 0
        expected = roc_auc_score(strange, score(flat(splits.test)))
        (found,) = (m[method] for m in results["digits"]["0"].values() if method in m)
        assert found["auroc"] == pytest.approx(expected)


def test_every_score_tells_zeros_from_the_rest_better_than_chance(done):
    families = done[0]["digits"]["0"]
    assert set(families) == set(FAMILIES)
    for family in ("kNN", "PCA", "isolation forest"):
        assert all(outcome["auroc"] > 0.9 for outcome in families[family].values())
    assert families["RBM"]["free_energy"]["auroc"] > 0.7


def test_nearest_neighbours_are_those_of_counting(config, splits, tmp_path):
    normal = normality(splits, tmp_path)
    (score,) = nearest_neighbours(normal, config).values()
    x = flat(splits.test)[:3]
    apart = np.linalg.norm(x[:, None] - normal.rows[None], axis=2)
    np.testing.assert_allclose(score(x), np.sort(apart, axis=1)[:, :5].mean(1), rtol=1e-4)


def test_pca_scores_by_what_the_components_leave_over(config, splits, tmp_path):
    normal = normality(splits, tmp_path)
    score = principal_components(normal, config)["pca_2"]
    x, mean = flat(splits.test)[:5].astype(np.float64), normal.rows.mean(0)
    _, _, axes = np.linalg.svd(normal.rows - mean, full_matrices=False)
    rebuilt = mean + (x - mean) @ axes[:2].T @ axes[:2]
    np.testing.assert_allclose(score(x), np.square(x - rebuilt).sum(1), rtol=1e-2)


def test_machines_score_by_free_energy_and_its_ratios(config, splits, tmp_path):
    normal = normality(splits, tmp_path)
    scores = machine_scores(normal, config)
    x = flat(splits.test)[:6]
    rates = torch.from_numpy(normal.rows).mean(0)
    rate = float(rates.mean())
    ink = -(x * np.log(rate) + (1 - x) * np.log(1 - rate)).sum(1)
    gap = scores["free_energy"](x) - scores["free_energy_minus_ink"](x)
    np.testing.assert_allclose(gap - gap[0], ink - ink[0], atol=1e-3)
    kept = np.clip(rates.numpy(), 0.001, 0.999)
    pixels = -(x * np.log(kept) + (1 - x) * np.log(1 - kept)).sum(1)
    gap = scores["free_energy"](x) - scores["free_energy_minus_pixels"](x)
    np.testing.assert_allclose(gap - gap[0], pixels - pixels[0], atol=1e-3)
    assert (scores["reconstruction_error"](x) > 0).all()


def test_trained_machines_are_read_and_not_trained_again(config, splits, tmp_path, monkeypatch):
    normal = normality(splits, tmp_path)
    x = flat(splits.test)[:4]
    before = {method: score(x) for method, score in machine_scores(normal, config).items()}
    monkeypatch.setattr(
        "training.rbm_training.update", lambda *_, **__: pytest.fail("trained again")
    )
    for method, score in machine_scores(normal, config).items():
        np.testing.assert_array_equal(score(x), before[method])


def test_gans_score_by_how_far_the_generator_is_from_the_image(config, splits, tmp_path):
    normal = normality(splits, tmp_path)
    scores = gan_scores(normal, config)
    x = flat(splits.test)[:6]
    izi_f, izi = scores["izi_f"](x), scores["izi"](x)
    assert izi_f.shape == (6,)
    assert (izi_f > izi).all()
    assert (izi > 0).all()


def test_trained_gans_are_read_and_not_trained_again(config, splits, tmp_path, monkeypatch):
    normal = normality(splits, tmp_path)
    x = flat(splits.test)[:4]
    before = {method: score(x) for method, score in gan_scores(normal, config).items()}
    for name in ("training.gan.adversarial_step", "training.encoder._encoder_step"):
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("trained again"))
    for method, score in gan_scores(normal, config).items():
        np.testing.assert_array_equal(score(x), before[method])


def test_images_are_framed_to_a_side_that_the_networks_know():
    image = np.ones((2, 1, 8, 8), np.float32)
    made = framed(image)
    assert made.shape == (2, 1, 28, 28)
    assert np.array_equal(made[:, :, 10:18, 10:18], image)
    assert made.sum() == image.sum()
    assert framed(np.zeros((1, 3, 28, 28), np.float32)).shape == (1, 3, 28, 28)
    assert framed(np.zeros((1, 3, 29, 30), np.float32)).shape == (1, 3, 32, 32)
    with pytest.raises(ValueError, match="65×8"):
        framed(np.zeros((1, 1, 65, 8), np.float32))


def test_results_from_before_a_table_was_there_are_still_read(done, config, tmp_path):
    folder = shutil.copytree(done[1], tmp_path / "copy")
    for digit in (0, 1):
        path = folder / f"class-{digit}.json"
        document = json.loads(path.read_text())
        del document["config"]["everyone"]
        path.write_text(json.dumps(document))
    defaults = config.model_copy(update={"everyone": type(config.everyone)()})
    _, told = again(defaults, folder)
    assert told == [(0, True), (1, True)]


def test_turned_images_have_the_ink_but_not_the_orientation(splits):
    some = splits.train.take(slice(200))
    made = turned(some, copies=2, seed=5)
    assert made.images.shape == (400, 1, 8, 8)
    assert 0 <= made.images.min() <= made.images.max() <= 1.0 + 1e-6
    assert made.images.mean() == pytest.approx(some.images.mean(), rel=0.25)
    again_made = turned(some, copies=2, seed=5)
    assert np.array_equal(made.images, again_made.images)
    # However a digit lies, turning it any way gives the same mean image in all four quarters.
    quarters = [np.rot90(made.images.mean(0)[0], k) for k in range(4)]
    assert max(np.abs(q - quarters[0]).max() for q in quarters) < 0.12


def outcome(*, auroc, held_out):
    return Outcome(auroc=auroc, held_out_auroc=held_out, share=0.05, calibration=100)


def test_scores_are_chosen_by_held_out_images_alone_and_within_the_protocol():
    found = [
        {
            "RBM": {
                "free_energy": outcome(auroc=0.99, held_out=0.6),
                "reconstruction_error": outcome(auroc=0.5, held_out=0.8),
                OUTSIDE_THE_PROTOCOL: outcome(auroc=1.0, held_out=1.0),
            }
        }
    ]
    assert chosen_methods(found) == {"RBM": "reconstruction_error"}


def test_finished_digits_are_read_again(done, config):
    results, folder = done
    found, told = again(config, folder)
    assert told == [(0, True), (1, True)]
    assert found == results


def test_a_family_that_came_later_is_scored_on_digits_that_were_finished(
    done, config, tmp_path, monkeypatch
):
    folder = shutil.copytree(done[1], tmp_path / "copy")
    more = dict(FAMILIES) | {"ink": lambda *_: {"ink": lambda rows: rows.sum(1)}}
    monkeypatch.setattr("training.benchmarks.protocol_a.FAMILIES", more)
    monkeypatch.setattr(
        "training.rbm_training.update", lambda *_, **__: pytest.fail("trained again")
    )
    found, told = again(config, folder, digits=[0])
    assert told == [(0, False)]
    assert found["chosen"]["ink"] == "ink"


def test_what_was_asked_to_stop_stops_and_keeps_what_is_finished(config, done, tmp_path):
    with pytest.raises(Interrupted, match="before digit 0"):
        again(config, tmp_path, stop=True)
    assert not list(tmp_path.glob("class-*.json"))


def test_a_class_without_images_is_refused(config, tmp_path):
    with pytest.raises(ConfigError, match="class 12 has no images"):
        again(config, tmp_path, digits=[12])


def test_p_values_are_as_honest_as_the_calibration_is_large(done):
    for families in done[0]["digits"].values():
        for methods in families.values():
            for found in methods.values():
                # 36 normal test images and about 20 for calibration: two standard errors are 0.12.
                assert 0 <= found["share"] <= 0.25
                assert 10 <= found["calibration"] <= 30


@pytest.mark.parametrize(("text", "digits"), [("0,1", [0, 1]), ("7", [7]), ("3 4", [3, 4])])
def test_digits_are_a_list(text, digits):
    assert parse_digits(text) == digits


@pytest.mark.parametrize("text", ["", "0,0", "a", "-1", "1.5"])
def test_what_is_no_list_of_digits_is_refused(text):
    with pytest.raises(ConfigError, match="as 0,1"):
        parse_digits(text)


def call(*words, code=0):
    result = CliRunner().invoke(app, ["anomaly", *map(str, words)], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result.output


def test_the_command_prints_a_table_and_writes_it(recipe, tmp_path):
    places = ["--runs", tmp_path / "runs", "--out", tmp_path / "out", "--quick", "--threads", 1]
    printed = call(recipe, "--digits", "0,1", *places)
    results = json.loads((tmp_path / "out" / "anomaly.json").read_text())
    assert set(results["digits"]) == {"0", "1"}
    assert results["config"]["data"]["limit"] == 900
    assert results["versions"]["torch"]
    page = (tmp_path / "runs" / "tiny-anomaly-quick" / "anomaly.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert rows[0].split("|")[1].strip() == "normal"
    assert [row.split("|")[1].strip() for row in rows[2:5]] == ["0", "1", "mean"]
    assert len({row.count("|") for row in rows[:5]}) == 1
    for word in ("F − turned", "kNN-5", "PCA-", "forest", "(F − all)", "mean"):
        assert word in printed
        assert word in page
    mean = results["digits"]["0"]["kNN"]["knn_5"]["auroc"] / 2
    mean += results["digits"]["1"]["kNN"]["knn_5"]["auroc"] / 2
    assert f"{mean:.3f}" in rows[4]

    call(recipe, "--digits", "0", *places)  # finished: read again
    told = call(recipe, "--digits", "0", *places, "--set", "alpha=0.1", code=2)
    assert "--fresh" in told


def test_the_reverie_command_finds_the_benchmarks():
    words = [sys.executable, "-m", "service.cli", "benchmark", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "anomaly" in done.stdout
    assert "inpainting" in done.stdout


def test_a_key_that_is_not_known_is_told(recipe, tmp_path):
    told = call(recipe, "--set", "baselines.forests=3", "--runs", tmp_path, code=2)
    assert "baselines.forests is not a key" in told
    told = call(recipe, "--set", "train.phases=[{epochs=1},{epochs=2}]", "--runs", tmp_path, code=2)
    assert "give one" in told


@pytest.mark.parametrize("smoke", [False, True])
def test_the_published_configuration_is_valid(smoke):
    assert load_anomaly_config(CONFIG, smoke=smoke).name == "anomaly-rbm"
