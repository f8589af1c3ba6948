"""Holes: the shapes that they promise, from their generator alone."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from training.masks import central_square, random_masks


@given(st.integers(0, 2**31), st.sampled_from([28, 32, 64]))
def test_random_masks_hold_zeros_and_ones_and_never_hide_everything(seed, side):
    masks = random_masks(6, side=side, generator=torch.Generator().manual_seed(seed))
    assert masks.shape == (6, 1, side, side)
    assert ((masks == 0) | (masks == 1)).all()
    assert (masks.mean((1, 2, 3)) < 1).all()


def test_every_kind_of_hole_turns_up_and_some_images_stay_whole():
    shares = random_masks(200, side=28, generator=torch.Generator().manual_seed(0)).mean((1, 2, 3))
    assert 30 <= (shares == 0).sum() <= 70
    assert ((shares > 0.05) & (shares < 0.3)).any()
    assert (shares > 0.7).any()


def test_the_same_generator_gives_the_same_masks():
    a, b = (random_masks(9, side=28, generator=torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(a, b)


def test_the_centre_is_14_by_14_of_28():
    mask = central_square(side=28)
    assert mask.sum() == 196
    assert mask[0, 7:21, 7:21].all()
