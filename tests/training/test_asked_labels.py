"""The judge reads a package's samples: of a machine that can only draw ten known digits."""

from pathlib import Path

import numpy as np
import pytest
import torch

from service.contract import Defaults, ImageData, Labels
from service.engine import open_engine
from service.queries import Call, Sample
from service.settings import Settings
from tests.training.test_package import publish_tiny
from training.asked_labels import asked_label_figures, samples_of, wilson_interval
from training.data import Dataset, load
from training.judge import load_judge
from training.label_graphs import Labelled, labelled_functions
from training.package import Package
from training.quantised import quantise
from training.rbm import Rbm

STRONG = 12.0  # log-odds beyond the reach of 16-bit noise


def digits() -> Dataset:
    return load({"name": "mnist", "limit": 500, "holdout": 0}, "test")


def prototypes(shown: tuple[int, ...]) -> torch.Tensor:
    """One black and white digit of each class in `shown`, which the judge reads rightly."""
    test = digits()
    ink = (test.images > 0.5).astype(np.float32)
    right = load_judge().look(ink).classes == test.labels
    rows = [np.flatnonzero(right & (test.labels == y))[0] for y in shown]
    return torch.from_numpy(ink[rows].reshape(len(shown), 784))


def publish(store: Path, *, shown: tuple[int, ...] = tuple(range(10))) -> Package:
    """Hidden unit y is on under label y and under no other; then v is the digit shown[y]."""
    ink = prototypes(shown)
    size = ink.sum(1)
    rbm = Rbm(
        W=2 * STRONG * torch.cat([ink.T, torch.diag(size + 1)]),
        b=torch.cat([torch.full((784,), -STRONG), torch.zeros(10)]),
        c=-STRONG * (2 * size + 1),
    )
    whole = Labelled(quantise(rbm, bits=16), 10)
    functions = labelled_functions(whole, base_bias=np.zeros(784, np.float32), shape=(1, 28, 28))
    made = publish_tiny(
        store,
        functions=functions,
        data=ImageData(shape=(1, 28, 28)),
        labels=Labels(names=tuple("0123456789")),
        defaults=Defaults(burn_in=3, truncation=None),
    )
    return Package(made)


def test_a_machine_that_draws_what_is_asked_is_read_so_every_time(tmp_path):
    package = publish(tmp_path)
    (figure,) = asked_label_figures(package, digits(), each=3, seed=1, command="reverie evaluate x")
    assert figure.name == "samples_read_as_asked"
    assert figure.value == 100.0
    assert 80 < figure.interval[0] < figure.interval[1] == 100.0
    assert 97 < figure.floor <= 100
    assert "rows 0 … 29 of `sample` with seed 1" in figure.protocol
    assert "after 3 sweeps" in figure.protocol
    assert load_judge().sha256[:12] in figure.protocol


def test_a_label_that_is_drawn_as_another_is_named(tmp_path):
    package = publish(tmp_path, shown=(0, 1, 2, 3, 4, 5, 6, 7, 3, 9))
    (figure,) = asked_label_figures(package, digits(), each=2, seed=1, command="")
    assert figure.value == pytest.approx(90.0)
    assert figure.interval[0] < 90 < figure.interval[1]
    assert "fewest of label '8', 0 of 2" in figure.protocol


async def test_what_is_read_are_the_bytes_that_the_service_gives(tmp_path):
    package = publish(tmp_path)
    labels = np.arange(4)
    mine = samples_of(package, labels, seed=5)
    engine = await open_engine(Settings(_env_file=None, models_store=tmp_path, device="cpu"))
    try:
        query = Sample(n=4, seed=5, labels=tuple(labels.tolist()))
        served = await engine.run(engine.registry.get("tiny"), query, Call.lasting(30))
    finally:
        await engine.stop()
    assert served.samples.tobytes() == mine.tobytes()


def test_rows_are_the_same_however_many_are_drawn_at_a_time(tmp_path, monkeypatch):
    package = publish(tmp_path)
    labels = np.resize(np.arange(10), 12)
    whole = samples_of(package, labels, seed=2)
    monkeypatch.setattr("training.asked_labels.ROWS_AT_A_TIME", 5)
    assert samples_of(package, labels, seed=2).tobytes() == whole.tobytes()


def test_there_is_no_figure_without_a_judge_or_without_labels(tmp_path):
    with_labels, without = publish(tmp_path), Package(publish_tiny(tmp_path / "plain"))
    other = load({"name": "digits", "limit": 20, "holdout": 0}, "test")
    for package, test in ((with_labels, other), (without, digits())):
        assert asked_label_figures(package, test, each=1, seed=0, command="") == []


def test_the_interval_of_a_share_is_wilsons():
    # Newcombe (1998), table I: 81 of 263 and 0 of 20.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
