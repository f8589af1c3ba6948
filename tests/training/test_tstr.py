"""Train on synthetic, test on real: what each arm sees, labels, resuming, and the command."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from service.contract import PackageError
from service.domain.randomness import Stream, standard_normal
from training.benchmarks import tstr as benchmark
from training.benchmarks.cli import app
from training.benchmarks.inpainting import Work
from training.benchmarks.modes_report import tstr_grid
from training.benchmarks.tstr import (
    ARMS,
    Protocol,
    check,
    labelled_samples,
    latent_classes,
    run_arms,
    training_set,
)
from training.data import Dataset
from training.gan_evaluation import Samples
from training.judge import Judge
from training.package import Package
from training.run import Interrupted, RunConflict

TINY = Protocol(samples=256, few=128, images_seen=512, seeds=(0, 1))
STORE = Path("models_store")


@pytest.fixture(scope="module")
def package():
    return Package(STORE / "mnist-dcgan" / "1")


@pytest.fixture(scope="module")
def digits():
    draw = np.random.default_rng(0)
    images = draw.random((600, 1, 28, 28), dtype=np.float32)
    return Dataset(images=images, labels=np.arange(600) % 10, name="made up")


def work(folder, *, stop=False):
    return Work(folder=folder, stop=lambda: stop, on_done=lambda *_: None)


@pytest.fixture
def _quick_samples(monkeypatch):
    """Samples of grey paper: what is trained on them does not matter here."""

    def made(_package, *, n, seed):
        labels = np.arange(n) % 10
        images = np.full((n, 1, 28, 28), 0.01 * seed, np.float32)
        return Samples(images=images, labels=labels)

    monkeypatch.setattr(benchmark, "sample", made)


@pytest.mark.usefixtures("_quick_samples")
def test_each_arm_sees_what_its_name_says(package, digits):
    made = labelled_samples(package, n=256, seed=3)

    def of(arm):
        return training_set(arm, lambda: made, train=digits, protocol=TINY, seed=3)

    real = {image.tobytes() for image in digits.images}
    for arm, n, share in (
        ("samples", 256, 0.0),
        ("real", 256, 1.0),
        ("few real", 128, 1.0),
        ("few real + samples", 512, 0.5),
    ):
        images, labels = of(arm)
        assert len(images) == len(labels) == n
        assert np.mean([image.tobytes() in real for image in images]) == share
    few = {image.tobytes() for image in of("few real")[0]}
    mixed = {image.tobytes() for image in of("few real + samples")[0]}
    assert len(few) == 128
    assert few == mixed & real


def test_latents_name_the_class_that_they_choose(package):
    labels = latent_classes(package, n=20, seed=5)
    z = standard_normal(seed=5, rows=range(20), stream=Stream.LATENT, width=64)
    assert np.array_equal(labels, z[:, :10].argmax(1))


def test_a_package_without_labels_is_refused(package):
    recipe = package.manifest.provenance["recipe"] | {"model": {"classes": 0}}
    plain = Package(STORE / "mnist-dcgan" / "1")
    provenance = plain.manifest.provenance | {"recipe": recipe}
    plain.manifest = plain.manifest.model_copy(update={"provenance": provenance})
    with pytest.raises(PackageError, match="cannot say what its samples are of"):
        latent_classes(plain, n=3, seed=0)


def test_a_package_of_other_images_is_refused(package):
    other = Dataset(images=np.zeros((2, 3, 32, 32), np.float32), labels=None, name="other")
    with pytest.raises(PackageError, match=r"not of images \[3, 32, 32\]"):
        check(package, other)


@pytest.mark.usefixtures("_quick_samples")
def test_finished_classifiers_are_read_again_and_other_protocols_refused(
    package, digits, tmp_path, monkeypatch
):
    def run(protocol=TINY, stop=False):
        return run_arms(
            package,
            train=digits,
            test=digits.take(slice(20)),
            protocol=protocol,
            work=work(tmp_path, stop=stop),
        )

    monkeypatch.setattr(benchmark, "train_judge", lambda *_, **__: Judge().eval())
    with pytest.raises(Interrupted, match="before samples, seed 0"):
        run(stop=True)
    first = run()
    assert set(first["arms"]) == set(ARMS)
    assert all(set(by_seed) == {"0", "1"} for by_seed in first["arms"].values())
    monkeypatch.setattr(benchmark, "train_judge", lambda *_, **__: pytest.fail("trained again"))
    assert run() == first
    with pytest.raises(RunConflict, match="--fresh"):
        run(Protocol(samples=300, few=128, images_seen=512, seeds=(0,)))
    grid = tstr_grid(first)
    assert [row[0] for row in grid.rows] == list(ARMS)


@pytest.mark.slow
def test_the_command_prints_a_table_and_writes_it(tmp_path):
    words = ["tstr", "mnist-dcgan", "--samples", "256", "--few", "128", "--images-seen", "256"]
    words += ["--seeds", "1", "--runs", str(tmp_path), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, words, env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    assert "few real + samples" in result.output
    results = json.loads((tmp_path / "out" / "tstr-mnist-dcgan.json").read_text())
    assert results["package"] == "mnist-dcgan@1"
    assert results["test_images"] == 10_000
