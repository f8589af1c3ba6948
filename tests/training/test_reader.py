"""The reader: it learns what a hole leaves, and resumes bit for bit."""

import copy

import pytest
import torch

from training.bend import bent
from training.bodies import reader_body
from training.gan_moves import Examples
from training.masks import central_square
from training.networks import visible
from training.reader import ReaderTraining, reading_loss, restore_reader, train_reader
from training.run import Interrupted, Run
from training.shapes import Shape

SHAPE = Shape(latent=4, width=4, classes=3, labelled=True)
LABELS = torch.arange(24) % 3
TINY = ReaderTraining(epochs=3, batch=8, save_every=2, log_every=1, bend=True)


def stripes() -> torch.Tensor:
    """A stripe at the edge for each class; the middle is the same for all."""
    images = torch.zeros(24, 1, 28, 28)
    for i, label in enumerate(LABELS.tolist()):
        images[i, :, 2 * label : 2 * label + 2] = 1.0
    return images


DATA = Examples(stripes(), LABELS)


def train(folder, *, resume=False, stop=lambda: False, config=TINY) -> torch.nn.Sequential:
    run = Run(folder, resume=resume, config={})
    try:
        return train_reader(DATA, shape=SHAPE, config=config, seed=2, run=run, stop=stop)
    finally:
        run.close()


@pytest.mark.parametrize(("stopped", "average_epochs"), [(4, 0), (4, 1), (11, 1)])
def test_a_stopped_reader_resumes_bit_for_bit(tmp_path, stopped, average_epochs):
    config = TINY.model_copy(update={"average_epochs": average_epochs})
    whole = train(tmp_path / "whole", config=config).state_dict()
    calls, total = iter(range(1, 100)), 9 + 3 * average_epochs
    with pytest.raises(Interrupted, match=f"step {stopped} of {total} of the reader"):
        train(tmp_path / "cut", stop=lambda: next(calls) == stopped, config=config)
    resumed = train(tmp_path / "cut", resume=True, config=config).state_dict()
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


def test_what_is_kept_is_the_mean_of_the_weights_after_the_cycle(tmp_path, monkeypatch):
    saved = {}
    monkeypatch.setattr(Run, "save", lambda _, n, state: saved.update({n: copy.deepcopy(state)}))
    config = TINY.model_copy(update={"average_epochs": 2, "average_rate": 0.01, "save_every": 1})
    kept = train(tmp_path, config=config)
    restored = restore_reader(saved[15], SHAPE, config).state_dict()
    for name, weight in kept.state_dict().items():
        mean = torch.stack([saved[n]["reader"][name].double() for n in range(10, 16)]).mean(0)
        assert torch.equal(weight, restored[name])
        if weight.is_floating_point():
            assert torch.allclose(weight.double(), mean, atol=1e-6)


def test_images_are_bent_until_the_weights_are_averaged(tmp_path, monkeypatch):
    steps = []

    def counted(images, *, generator):
        steps.append(len(images))
        return bent(images, generator=generator)

    monkeypatch.setattr("training.reader.bent", counted)
    train(tmp_path, config=TINY.model_copy(update={"average_epochs": 1}))
    assert steps == [8] * 9  # of 12


def test_a_checkpoint_from_before_there_was_a_mean_is_its_own():
    reader = reader_body(SHAPE, "patches")
    state = {"reader": reader.state_dict()}
    again = restore_reader(state, SHAPE, ReaderTraining(body="patches"))
    assert all(map(torch.equal, again.parameters(), reader.parameters()))


def test_a_reader_learns_the_class_from_what_the_centre_leaves(tmp_path):
    reader = train(tmp_path, config=ReaderTraining(epochs=20, batch=8, centre=1.0))
    masks = central_square(side=28).expand(24, 1, 28, 28)
    read = reader(visible(DATA.images, masks)).flatten(1).argmax(1)
    assert torch.equal(read, LABELS)


def test_what_lies_in_the_hole_does_not_change_the_loss():
    reader = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 28))
    config = ReaderTraining(centre=1.0)
    filled = DATA.images.clone()
    filled[:, :, 7:21, 7:21] = 0.7
    plain, other = (
        reading_loss(
            reader, Examples(images, LABELS), config=config, noise=torch.Generator().manual_seed(0)
        )
        for images in (DATA.images, filled)
    )
    assert plain == other


def test_half_of_all_images_are_mirrored_where_that_is_asked():
    seen = []

    class Watching(torch.nn.Module):
        def forward(self, x):
            seen.append((x[:, 0] > 0).float().mean((0, 1)))
            return x.mean((1, 2, 3))[:, None].expand(-1, 3)

    left = torch.zeros(600, 1, 28, 28)
    left[..., :4] = 1.0
    data = Examples(left, torch.zeros(600, dtype=torch.long))
    for flip in (False, True):
        config = ReaderTraining(centre=1.0, flip=flip)
        noise = torch.Generator().manual_seed(1)
        reading_loss(torch.nn.Sequential(Watching()), data, config=config, noise=noise)
    assert seen[0][:4].min() == 1
    assert seen[0][4:].max() == 0
    assert torch.allclose(seen[1][[0, 27]], torch.full((2,), 0.5), atol=0.1)
