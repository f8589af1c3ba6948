"""Augmentation: what it draws, that gradients pass, and that none is drawn where it is off."""

import pytest
import torch

from training.augment import TRANSFORMS, Augmentation, cutout, flip, translate

X = torch.rand(16, 3, 28, 28, generator=torch.Generator().manual_seed(1))


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def augmentation(p: float, *names: str) -> Augmentation:
    return Augmentation(
        p=p, transforms=tuple(TRANSFORMS[n] for n in names), target=None, images=1000
    )


def test_nothing_is_drawn_where_it_is_off():
    generator = draws()
    before = generator.get_state()
    assert augmentation(0.0, "noise")(X, generator) is X
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_share_p_of_the_rows_is_changed_and_gradients_pass(name):
    x = X.repeat(20, 1, 1, 1).requires_grad_()
    seen = augmentation(0.3, name)(x, draws())
    changed = (seen != x).flatten(1).any(1).float().mean()
    assert 0.15 < float(changed) < 0.45  # 0.3 ± 4σ of 320 draws, less the shifts of 0 pixels
    seen.sum().backward()
    assert x.grad.isfinite().all()
    assert float(x.grad.abs().sum()) > 0


def test_translation_moves_whole_pixels_and_repeats_the_edge():
    ramp = torch.arange(28.0).view(1, 1, 1, 28).expand(64, 1, 28, 28) / 28
    moved = translate(ramp, draws())
    values = set((moved * 28).round().flatten().tolist())
    assert values == set(range(28))
    shifts = {round(float(row[0, 0, 14] * 28)) - 14 for row in moved}
    assert min(shifts) >= -4
    assert max(shifts) <= 4
    assert len(shifts) > 5


def test_cutout_empties_one_square_of_a_quarter_of_the_side():
    holes = (cutout(torch.ones(32, 1, 28, 28), draws()) == 0).flatten(1).sum(1)
    assert set(holes.tolist()) == {49}


def test_a_flip_twice_is_nothing():
    assert torch.equal(flip(flip(X, draws()), draws()), X)


def test_noise_is_for_points_too():
    points = torch.zeros(10, 2)
    assert (augmentation(1.0, "noise")(points, draws()) != 0).all()
