"""Which helpers a training's chains have, as its recipe asks: none, temperatures, or a ladder.

[train] chains = "tempering" | "trajectory" ──► TemperedChains | Ladder ──► checkpoint ──► the same
"""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from training.rbm import base_rate_bias
from training.rbm_config import RbmTrainTable
from training.rbm_learning import LearnerState
from training.tempering import TemperedChains
from training.trajectory import Ladder, LadderRule

Helpers = TemperedChains | Ladder | None


def begin_exchange(
    train: RbmTrainTable, state: LearnerState, *, visible_mean: Float[Tensor, " visible"]
) -> Helpers:
    """The helpers before the first update, at the states of the learner's particles."""
    if train.chains == "tempering":
        return TemperedChains.begin(
            rungs=train.temperatures,
            base_bias=base_rate_bias(visible_mean),
            particles=state.particles,
        )
    if train.chains == "trajectory":
        return Ladder.begin(visible_mean=visible_mean, particles=state.particles, rule=_rule(train))
    return None


def restored_exchange(
    train: RbmTrainTable, state: LearnerState, named: Mapping[str, Tensor]
) -> Helpers:
    """The helpers of a checkpoint, on the learner's device."""
    if train.chains == "tempering":
        return TemperedChains.restored(named, state.W.device)
    if train.chains == "trajectory":
        return Ladder.restored(named, state.W.device, rule=_rule(train))
    return None


def _rule(train: RbmTrainTable) -> LadderRule:
    return LadderRule(least_acceptance=train.least_acceptance, most_rungs=train.most_rungs)
