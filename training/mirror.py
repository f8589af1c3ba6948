"""A belief network that begins as good as a restricted machine: the machine, and its mirror image.

Rbm(W, b, c) ──► directed layer W, and a top machine whose first hidden units are pixels again: Wᵀ

The top machine gives h the probability that the restricted machine gave it, and the directed layer
draws v from h as that did, so log p(v) is the same and the bound is tight. Whatever prior of h is
better than this one makes a better bound: Hinton, Osindero & Teh (2006), §4.
"""

from __future__ import annotations

import torch

from training.rbm import Rbm


def mirrored(
    rbm: Rbm, *, hidden: int, labels: int, scale: float, generator: torch.Generator
) -> Rbm:
    """A machine on [h, labels] that gives h the marginal of `rbm` while its new weights are small.

    Args:
        rbm: of V visible and H hidden units.
        hidden: units above h, V or more; those beyond V are new.
        labels: label units beside h, equally likely at first.
        scale: standard deviation of the new units' weights to h, and of the labels' to all.
        generator: of those.
    """
    visible, units = rbm.W.shape
    assert hidden >= visible, "every pixel has a unit in the mirror"
    shape = (units + labels, hidden)
    W = scale * torch.randn(shape, generator=generator, device=rbm.W.device, dtype=rbm.W.dtype)
    W[:units, :visible] = rbm.W.T
    b = torch.cat([rbm.c, rbm.c.new_zeros(labels)])
    c = torch.cat([rbm.b, rbm.b.new_zeros(hidden - visible)])
    return Rbm(W=W, b=b, c=c)
