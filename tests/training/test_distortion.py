"""Small changes of images: none where none is asked for, and no larger than asked."""

import torch

from training.distortion import distort
from training.judge import shake


def blobs(n: int = 6, side: int = 28) -> torch.Tensor:
    """A soft blob in the middle of each image."""
    at = torch.arange(side) - (side - 1) / 2
    one = torch.exp(-(at[:, None] ** 2 + at[None] ** 2) / 18)
    return one.expand(n, 1, side, side).contiguous()


def centres(images: torch.Tensor) -> torch.Tensor:
    at = torch.arange(images.shape[-1], dtype=torch.float32)
    mass = images.sum((1, 2, 3))
    return torch.stack([(images.sum((1, 2)) @ at) / mass, (images.sum((1, 3)) @ at) / mass], 1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_nothing_asked_for_is_nothing_done():
    images = torch.rand(4, 1, 28, 28, generator=generator())
    same = distort(images, affine=0.0, elastic_pixels=0.0, generator=generator(1))
    torch.testing.assert_close(same, images, atol=1e-5, rtol=0)


def test_a_whole_affine_change_is_the_judges():
    images = blobs()
    ours = distort(images, affine=1.0, elastic_pixels=0.0, generator=generator(2))
    assert torch.equal(ours, shake(images, generator=generator(2)))


def test_shifts_stay_within_the_share_that_was_asked_for():
    images = blobs(200)
    moved = distort(images, affine=0.5, elastic_pixels=0.0, generator=generator(3))
    shift = (centres(moved) - centres(images)).abs().max(0).values
    assert (shift > 0.8).all()
    assert (shift < 1.2).all()  # half of two pixels, and what turning a blob adds


def test_an_elastic_field_bends_each_image_in_its_own_way():
    images = blobs(100)
    bent = distort(images, affine=0.0, elastic_pixels=1.0, generator=generator(4))
    assert bent.shape == images.shape
    assert float(bent.min()) >= 0
    assert float(bent.max()) <= 1
    assert (bent - bent[0]).flatten(1).abs().amax(1)[1:].min() > 0.05
    spread = (centres(bent) - centres(images)).std(0)
    assert (spread > 0.2).all()
    assert (spread < 1.5).all()
