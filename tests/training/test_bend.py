"""Bent images are others of the same, and stay in the middle of their frame."""

import torch

from training import bend
from training.bend import bent


def blobs(n: int = 64, side: int = 28) -> torch.Tensor:
    """Two spots on either side of the middle, their centre of mass in it."""
    at = torch.arange(side) - (side - 1) / 2
    down, across = torch.meshgrid(at, at, indexing="ij")
    far = torch.linspace(2.0, 6.0, n)[:, None, None]
    spot = sum(torch.exp(-((across - s * far) ** 2 + (down - s * 3) ** 2) / 4.0) for s in (-1, 1))
    return spot[:, None]


def centre_of_mass(x: torch.Tensor) -> torch.Tensor:
    at = torch.arange(x.shape[-1]) - (x.shape[-1] - 1) / 2
    down, across = torch.meshgrid(at, at, indexing="ij")
    return torch.stack([(x * across).sum((1, 2, 3)), (x * down).sum((1, 2, 3))]) / x.sum((1, 2, 3))


def test_a_linear_map_about_the_middle_leaves_the_centre_of_mass_there(monkeypatch):
    monkeypatch.setattr(bend, "FIELD", 0.0)
    found = bent(blobs(), generator=torch.Generator().manual_seed(0))
    assert centre_of_mass(found).abs().max() < 0.05


def test_every_image_is_bent_in_its_own_way_and_by_little():
    images = blobs(1).expand(16, -1, -1, -1)
    found = bent(images, generator=torch.Generator().manual_seed(1))
    assert found.shape == images.shape
    assert len(torch.unique(found.flatten(1), dim=0)) == 16
    # Two images without a common pixel would differ by twice their ink.
    assert (found - images).abs().mean() < 0.6 * images.mean()
    assert centre_of_mass(found).abs().max() < 1.5


def test_nothing_bends_where_all_ranges_are_zero(monkeypatch):
    for name in ("TURN", "STRETCH", "SLANT", "FIELD"):
        monkeypatch.setattr(bend, name, 0.0)
    found = bent(blobs(), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(found, blobs(), atol=1e-5, rtol=0)
