"""The judge: the committed one is a good one, and one can be made again."""

import numpy as np
import pytest
import torch

from service.contract import sha256_of
from training.data import load
from training.export import session
from training.judge import (
    JUDGES,
    JudgeTraining,
    dump_judge,
    load_judge,
    parse_judge,
    shake,
    train_judge,
)
from training.judge_export import judge_functions


def stripes(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two classes that a judge learns in seconds: bars that stand, and bars that lie."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 2
    images = 0.2 * torch.rand(n, 1, 28, 28, generator=generator)
    images[labels == 0, :, :, 12:16] = 1.0
    images[labels == 1, :, 12:16, :] = 1.0
    return images, labels


def test_the_committed_judge_is_right_on_99_2_percent_of_the_test_digits():
    test = load("mnist", "test")
    assert load_judge().accuracy(test.images, test.labels) >= 0.992


def test_the_committed_judge_is_small_and_known_by_its_digest():
    content = (JUDGES / "mnist.safetensors").read_bytes()
    assert len(content) < 1_000_000
    assert load_judge().sha256 == sha256_of(content)


def test_the_judge_of_colour_looks_at_its_own_images_alone():
    colour, digits = load_judge("cifar10"), load_judge()
    assert colour.knows((3, 32, 32))
    assert digits.knows((1, 28, 28))
    assert not colour.knows((1, 28, 28))
    assert not digits.knows((3, 32, 32))
    seen = colour.look(torch.rand(2, 3, 32, 32))
    assert seen.features.shape == (2, 64)
    assert (JUDGES / "cifar10.safetensors").stat().st_size < 2_000_000


@pytest.mark.parametrize("how", [{"flip": True}, {"precision": "bfloat16"}])
def test_a_judge_of_colour_learns_too(how):
    images, labels = torch.rand(32, 3, 32, 32), torch.arange(32) % 2
    images[labels == 0, 2] = 0.0  # no blue
    training = JudgeTraining(epochs=20, batch=16, **how)
    judge = train_judge(images, labels, how=training, seed=0, on_step=lambda *_: None)
    assert parse_judge(dump_judge(judge)).accuracy(images, labels) > 0.9


def test_a_judge_that_is_not_there_says_how_to_make_it():
    with pytest.raises(FileNotFoundError, match=r"reverie train .*nothing-judge\.toml"):
        load_judge("nothing")


def test_a_judge_learns_and_the_same_seed_gives_the_same_bytes():
    images, labels = stripes(128)
    how = JudgeTraining(epochs=3, batch=16)
    told = []

    def train() -> bytes:
        made = train_judge(
            images, labels, how=how, seed=1, on_step=lambda step, loss: told.append((step, loss))
        )
        return dump_judge(made)

    content = train()
    assert [step for step, _ in told] == list(range(1, 25))
    assert parse_judge(content).accuracy(images, labels) == 1.0
    assert train() == content


def test_a_verdict_is_the_same_in_any_batch():
    images, _ = stripes(11)
    bench = load_judge()
    whole, parts = bench.look(images), bench.look(images, batch=4)
    assert whole.features.shape == (11, 64)
    assert np.allclose(whole.probabilities.sum(1), 1.0, atol=1e-5)
    assert np.allclose(whole.features, parts.features, atol=1e-4)


def test_shaking_moves_images_a_little_and_by_its_generator_alone():
    images, _ = stripes(8)
    a, b = (shake(images, generator=torch.Generator().manual_seed(2)) for _ in range(2))
    assert torch.equal(a, b)
    assert a.shape == images.shape
    assert not torch.equal(a, images)
    assert a.mean() == pytest.approx(images.mean().item(), rel=0.3)


def test_the_rate_rises_and_falls_to_nothing():
    how = JudgeTraining(learning_rate=0.01)
    rates = [how.rate(p) for p in (0.0, 0.1, 0.2, 0.6, 1.0)]
    assert rates == pytest.approx([0.0, 0.005, 0.01, 0.005, 0.0])


def test_features_and_classes_come_from_one_graph_that_holds_the_weights_once():
    bench = load_judge()
    functions, worst = judge_functions(bench.judge, (1, 28, 28))
    assert worst < 1e-4
    assert functions["encode"].graph == functions["classify"].graph
    learnt = sum(p.numel() for p in bench.judge.parameters())
    assert len(functions["encode"].graph) < 4 * learnt + 20_000
    images = load("mnist", "test").images[:5]
    features, probabilities = session(functions["encode"].graph).run(None, {"x": images})
    seen = bench.look(images)
    assert np.allclose(features, seen.features, atol=1e-4)
    assert np.allclose(probabilities, seen.probabilities, atol=1e-5)
