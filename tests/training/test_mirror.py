"""A top machine that begins as a mirror image leaves the likelihood as it was."""

import pytest
import torch

from tests.training.test_exact import machine
from training.dbn import mean_bound, stack
from training.exact import binary_states, log_likelihood
from training.exact import log_z as exact_log_z
from training.mirror import mirrored
from training.rbm import Rbm


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_h_has_the_marginal_that_the_restricted_machine_gave_it():
    rbm = machine(visible=4, hidden=3)
    top = mirrored(rbm, hidden=6, labels=0, scale=0.0, generator=generator())
    h = binary_states(3)
    swapped = Rbm(W=rbm.W.T, b=rbm.c, c=rbm.b)
    assert torch.allclose(log_likelihood(top, h), log_likelihood(swapped, h))


def test_the_bound_is_the_restricted_machine_s_likelihood():
    rbm = machine(visible=4, hidden=3)
    top = mirrored(rbm, hidden=5, labels=0, scale=0.0, generator=generator())
    v = binary_states(4)
    bound = mean_bound(
        stack([rbm], top, labels=0), v, log_z=float(exact_log_z(top)), draws=400,
        generator=generator(1),
    )  # fmt: skip
    assert bound == pytest.approx(float(log_likelihood(rbm, v).mean()), abs=0.02)


def test_labels_are_equally_likely_whatever_h_is():
    rbm = machine(visible=4, hidden=3)
    top = mirrored(rbm, hidden=4, labels=2, scale=0.0, generator=generator())
    assert (top.W[3:] == 0).all()
    assert (top.b[3:] == 0).all()
