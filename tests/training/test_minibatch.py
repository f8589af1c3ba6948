"""Layers that look at the batch: against hand-computed values, and blind to the rows' order."""

import math

import torch

from training.minibatch import KERNEL_WIDTH, MinibatchDeviation, MinibatchDiscrimination


def test_the_deviation_is_the_mean_over_features_and_the_same_for_all_rows():
    features = torch.tensor([[0.0, 1.0], [2.0, 1.0]])
    seen = MinibatchDeviation()(features)
    assert seen.shape == (2, 1)
    assert torch.allclose(seen, torch.full((2, 1), 0.5), atol=1e-4)


def test_a_batch_of_one_image_has_hardly_a_deviation_and_a_finite_gradient():
    features = torch.ones(4, 3, requires_grad=True)
    seen = MinibatchDeviation()(features)
    seen.sum().backward()
    assert float(seen[0].detach()) < 1e-3
    assert features.grad.isfinite().all()


def test_nearness_is_the_sum_of_kernels_over_the_other_rows():
    layer = MinibatchDiscrimination(KERNEL_WIDTH, 1)
    with torch.no_grad():
        layer.project.weight.copy_(torch.eye(KERNEL_WIDTH))
    rows = torch.zeros(3, KERNEL_WIDTH)
    rows[1, 0], rows[2, 0] = 1.0, 3.0
    seen = layer(rows)[:, 0]
    expected = [
        math.exp(-1) + math.exp(-3),
        math.exp(-1) + math.exp(-2),
        math.exp(-3) + math.exp(-2),
    ]
    assert torch.allclose(seen, torch.tensor(expected), atol=1e-6)


def test_the_order_of_the_other_rows_does_not_matter():
    layer = MinibatchDiscrimination(6, 4)
    rows = torch.randn(8, 6)
    order = torch.randperm(8)
    assert torch.allclose(layer(rows)[order], layer(rows[order]), atol=1e-5)
