"""Fine-tuning: the gradient, resumption to the bit, and that it learns."""

import pytest
import torch

from training.classifier import (
    Classifier,
    ClassifyTable,
    LabelledData,
    distorted,
    error,
    fine_tune,
    restored_classifier,
    with_softmax,
)
from training.classifier_graph import as_exported
from training.run import Interrupted, Run

TABLE = ClassifyTable(epochs=6, batch=16, learning_rate=0.02, ema_decay=0.9)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noisy_prototypes(n: int = 90, seed: int = 0) -> LabelledData:
    g = generator(seed)
    prototypes = (torch.rand(3, 12, generator=generator(9)) < 0.5).float()
    labels = torch.randint(3, (n,), generator=g)
    x = (prototypes[labels] - (torch.rand(n, 12, generator=g) < 0.05).float()).abs()
    return LabelledData([x, torch.rand(n, 4, generator=g)], labels)


def start() -> Classifier:
    g = generator(1)
    layers = [
        (0.1 * torch.randn(16, 8, generator=g), torch.zeros(8)),
        (0.1 * torch.randn(8, 6, generator=g), torch.zeros(6)),
    ]
    return with_softmax(layers, labels=3)


def go(directory, *, resume=False, stop_after=None, table=TABLE, views=None) -> Classifier:
    run = Run(directory, resume=resume, config={})
    asked = iter(range(1, 10**9))
    try:
        return fine_tune(
            start(),
            noisy_prototypes(),
            noisy_prototypes(30, seed=5),
            table=table,
            seed=2,
            run=run,
            stop=lambda: next(asked) == stop_after,
            views=views,
        )
    finally:
        run.close()


def test_a_fresh_softmax_finds_every_label_equally_likely():
    logits = start().logits(noisy_prototypes().inputs)
    assert logits.shape == (90, 3)
    assert logits.abs().max() == 0


def test_side_inputs_join_the_layer_that_they_belong_to():
    data = noisy_prototypes()
    made = start()
    joined = Classifier(W=made.W, b=made.b).logits([torch.cat(list(data.inputs), 1)])
    torch.testing.assert_close(made.logits(data.inputs), joined)


def test_fine_tuning_learns_what_the_labels_are(tmp_path):
    table = TABLE.model_copy(update={"epochs": 40, "dropout": 0.1, "input_dropout": 0.1})
    test = noisy_prototypes(60, seed=7)
    assert error(start(), test) > 0.3
    assert error(go(tmp_path, table=table), test) < 0.05


@pytest.mark.parametrize("stop_after", [1, 6, 7, 20])
def test_a_fine_tuning_that_was_stopped_goes_on_to_the_same_bits(tmp_path, stop_after):
    whole = go(tmp_path / "whole")
    with pytest.raises(Interrupted):
        go(tmp_path / "parts", stop_after=stop_after)
    again = go(tmp_path / "parts", resume=True)
    for found, expected in zip((*again.W, *again.b), (*whole.W, *whole.b), strict=True):
        assert torch.equal(found, expected)
    kept = restored_classifier(tmp_path / "parts")
    assert all(torch.equal(a, b) for a, b in zip(kept.W, again.W, strict=True))
    assert restored_classifier(tmp_path / "nothing") is None


def test_adam_takes_the_steps_that_torch_takes(tmp_path):
    """Without dropout, the last weights are those of torch.optim.Adam on the same batches."""
    table = ClassifyTable(
        epochs=2, batch=90, learning_rate=0.01, final_learning_rate=0.01,
        input_dropout=0, dropout=0, ema_decay=0,
    )  # fmt: skip
    found = go(tmp_path, table=table)
    made = start()
    leaves = [t.requires_grad_() for t in (*made.W, *made.b)]
    adam = torch.optim.Adam(leaves, lr=0.01)
    data = noisy_prototypes()
    for _ in range(2):
        adam.zero_grad()
        torch.nn.functional.cross_entropy(made.logits(data.inputs), data.labels).backward()
        adam.step()
    for a, b in zip((*found.W, *found.b), leaves, strict=True):
        torch.testing.assert_close(a, b.detach(), atol=1e-5, rtol=1e-3)


def test_changed_images_are_learned_to_the_same_bits_after_a_stop(tmp_path):
    table = TABLE.model_copy(update={"affine": 0.5, "elastic_pixels": 0.5})
    change = distorted(table, (1, 3, 4))

    def views(x, noise):
        return [change(x, noise), torch.zeros(len(x), 4)]

    whole = go(tmp_path / "whole", table=table, views=views)
    with pytest.raises(Interrupted):
        go(tmp_path / "parts", stop_after=5, table=table, views=views)
    again = go(tmp_path / "parts", resume=True, table=table, views=views)
    assert all(torch.equal(a, b) for a, b in zip(again.W, whole.W, strict=True))
    assert not torch.equal(again.W[0], go(tmp_path / "plain").W[0])


def test_a_table_that_changes_no_image_is_the_one_of_older_runs():
    assert distorted(TABLE, (1, 3, 4)) is None
    assert set(ClassifyTable.model_fields) - set(TABLE.deciding()) == {"affine", "elastic_pixels"}
    changing = TABLE.model_copy(update={"affine": 0.5})
    assert set(changing.deciding()) == set(ClassifyTable.model_fields)


def test_weights_of_eight_bits_are_off_by_half_a_step_of_their_unit():
    made = start()
    made.W[0][:, 3] *= 50
    kept = as_exported(made)
    for found, exact in zip(kept.W, made.W, strict=True):
        half_a_step = exact.abs().amax(0) / 254
        assert ((found - exact).abs() <= half_a_step * 1.001 + 1e-12).all()
