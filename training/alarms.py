"""When a training is no longer one: weights out of all bounds, chains that have died.

tensors, particles ──check_sane, check_chains, check_images──► TrainingDiverged, or nothing

Every trainer looks before it writes a checkpoint or a monitor's line, so that neither holds what a
training cannot go on from.
"""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from training.run import TrainingDiverged, check_finite

# A machine works with weights of a few units; thousands are no machine.
LARGEST_SANE_WEIGHT = 1000.0
# Fewer chains than this may meet in one state by chance, in a machine of a few units.
FEWEST_TO_JUDGE = 10
# Chains whose visible probabilities differ by less than this show one image.
LEAST_SPREAD = 1e-4
AGAIN = "lower the learning rate (--set train.learning_rate=…) and start again with --fresh"


def check_sane(named: Mapping[str, Tensor], *, step: int) -> None:
    """Raise TrainingDiverged unless every tensor is finite and of a machine's size."""
    for name, tensor in named.items():
        check_finite(name, tensor, step=step)
        largest = float(tensor.abs().max())
        if largest > LARGEST_SANE_WEIGHT:
            raise TrainingDiverged(f"{name} reaches {largest:.3g} at step {step:,}: {AGAIN}")


def check_chains(particles: Float[Tensor, "chains units"], *, step: int) -> None:
    """Raise TrainingDiverged where chains, though there are many, are all in one 0/1 state.

    They tell the gradient about that state alone.
    """
    chains = len(particles)
    if chains >= FEWEST_TO_JUDGE and not bool(particles.ne(particles[0]).any()):
        raise TrainingDiverged(
            f"the {chains:,} chains have died at step {step:,}, all in one state: {AGAIN}"
        )


def check_images(p: Float[Tensor, "chains visible"], *, step: int) -> None:
    """Raise TrainingDiverged where the chains' visible probabilities are all the same."""
    if len(p) > 1 and float(p.std(0).max()) < LEAST_SPREAD:
        raise TrainingDiverged(f"all {len(p)} chains show the same image at step {step:,}: {AGAIN}")
