"""digits-rbm: the published weights give the published figures, and scikit-learn's machine less."""

from pathlib import Path

import pytest
import torch
from sklearn.neural_network import BernoulliRBM

from tests.training.test_training_cli import call, places
from training.binarised import binary_rows
from training.config import load_config
from training.data import load, split_holdout
from training.package import Package
from training.rbm import Rbm, base_rate_bias
from training.rbm_ais import ais
from training.rbm_evaluation import (
    EvaluationData,
    Machine,
    ais_figure,
    read_weights,
    reverse_ais_figure,
)

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "training" / "configs" / "digits-rbm.toml"
PUBLISHED = ROOT / "models_store" / "digits-rbm" / "1"


def sets() -> EvaluationData:
    config = load_config(RECIPE)[1]
    train, _ = split_holdout(load("digits", "train"), config.data.holdout, config.seed)
    return EvaluationData(train=train, test=load("digits", "test"))


def log_probability(rbm: Rbm, data: EvaluationData) -> float:
    """Of the binarised test digits, by AIS."""
    rates = torch.from_numpy(data.train.images.reshape(len(data.train), -1).mean(0))
    log_z = ais(
        rbm,
        base_bias=base_rate_bias(rates),
        runs=200,
        betas=1000,
        generator=torch.Generator().manual_seed(1),
    )
    test = binary_rows(data.test, device=torch.device("cpu"))
    return Machine(rbm).mean_log_probability(test, log_z=log_z.value)


@pytest.mark.statistical
def test_the_published_eight_bits_have_the_figures_of_their_card():
    package, data = Package(PUBLISHED), sets()
    machine = Machine(read_weights(package))
    said = {q.name: q for q in package.manifest.quality}
    table = load_config(RECIPE)[1].evaluate.model_copy(
        update={"betas": 500, "runs": 100, "reverse_burn_in": 100}
    )
    words = {"weights": "exported weights", "command": ""}
    forward = ais_figure(machine, data, table=table, name="test_log_probability", **words)
    backward = reverse_ais_figure(machine, data, table=table, **words)
    for figure in (forward, backward):
        assert figure.value == pytest.approx(said["test_log_probability"].value, abs=0.15)
    assert said["test_log_probability"].value > -22.5
    low, high = said["test_log_probability_by_ladder"].interval
    assert low < said["test_log_probability_float_weights"].value < high


@pytest.mark.slow
def test_a_minute_of_training_beats_scikit_learn_at_as_many_epochs(tmp_path):
    """Both PCD-1, 64 hidden units, batches of 50; scikit-learn's at the best of three rates."""
    epochs = 200
    phases = f"train.phases=[{{ epochs = {epochs}, batch = 50, chains = 50, sweeps = 1 }}]"
    call("train", str(RECIPE), *places(tmp_path), "--threads", "1", "--set", phases,
         "--set", "evaluate.betas=1000", "--set", "evaluate.reverse_burn_in=100")  # fmt: skip
    data = sets()
    ours = log_probability(read_weights(Package(tmp_path / "store" / "digits-rbm" / "1")), data)
    grey = data.train.images.reshape(len(data.train), -1)
    theirs = []
    for rate in (0.1, 0.03, 0.01):
        peer = BernoulliRBM(
            n_components=64, learning_rate=rate, batch_size=50, n_iter=epochs, random_state=0
        ).fit(grey)
        theirs.append(log_probability(converted(peer), data))
    assert ours > -23.6
    assert ours > max(theirs)


def converted(peer: BernoulliRBM) -> Rbm:
    """scikit-learn's machine as ours: it has the same energy."""
    W, b, c = peer.components_.T, peer.intercept_visible_, peer.intercept_hidden_
    return Rbm(*(torch.from_numpy(a.copy()).float() for a in (W, b, c)))


def test_scikit_learns_machine_has_the_same_free_energy_as_ours():
    grey = sets().train.images.reshape(-1, 64)[:50]
    peer = BernoulliRBM(n_components=8, n_iter=1, random_state=0).fit(grey)
    expected = torch.from_numpy(peer._free_energy(grey)).float()
    torch.testing.assert_close(converted(peer).free_energy(torch.from_numpy(grey)), expected)
