"""What the card of a deep Boltzmann machine says.

recipe, exported machine, training, figures ──► dbm_card ──► Markdown
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.contract import Quality
from training.boltzmann_card import (
    GREY,
    P_VALUES,
    REFERENCE,
    chain_pictures,
    classifier_note,
    phases,
    training_data,
)
from training.card import ModelCard, duration, write_card
from training.classifier import Classifier
from training.data import Dataset
from training.dbm import Dbm
from training.dbm_config import DbmConfig, JointTable
from training.quantised_deep import QuantisedDbm
from training.rbm_config import TrainTable


@dataclass(frozen=True)
class TrainedDbm:
    """A training's averaged machine, what it cost so far, and its data.

    `classifier` was fine-tuned from the machine as it is exported, where there is one.
    """

    dbm: Dbm
    classifier: Classifier | None
    steps: int
    seconds: float
    train: Dataset
    held_out: Dataset


def summary(config: DbmConfig, dbm: QuantisedDbm) -> str:
    """What the model is, in a sentence."""
    return (
        f"A deep Boltzmann machine of binary units, {_shape(dbm)}, on {config.data.title}: samples "
        "by block Gibbs sweeps that are exact on every device, conditional inpainting, features by "
        "mean-field, and anomaly scores by the variational bound."
    )


def dbm_card(
    config: DbmConfig,
    dbm: QuantisedDbm,
    trained: TrainedDbm,
    figures: Sequence[Quality],
    facts: Mapping[str, Any],
    *,
    drawn: Sequence[str],
) -> str:
    """The card in Markdown; `facts` is the provenance, `drawn` the pictures that are there."""
    return write_card(
        ModelCard(
            title=f"{config.name} {config.version}",
            summary=summary(config, dbm),
            uses=(
                "Sampling, inpainting, interpolation and anomaly scores for images like these.",
                REFERENCE,
            ),
            limits=(
                GREY,
                "A fresh chain keeps to the mode that it falls into for thousands of sweeps.",
                P_VALUES,
            ),
            training_data=training_data(config, train=trained.train, held_out=trained.held_out),
            training=_how(config, trained),
            quality=figures,
            pictures=chain_pictures(config.export, seed=config.seed, drawn=drawn),
            provenance=facts,
            notes=_notes(config, dbm, trained),
        )
    )


def _notes(config: DbmConfig, dbm: QuantisedDbm, trained: TrainedDbm) -> dict[str, str]:
    notes = {"The weights": _weights_note(dbm)}
    table = config.classify
    if table is not None and trained.classifier is not None:
        network = "the machine's mean-field unrolled once"
        notes["The classifier"] = classifier_note(table, network=network)
    return notes


def _how(config: DbmConfig, trained: TrainedDbm) -> str:
    table = config.train
    layers = "; ".join(
        f"layer {i}: {_phases(layer)}, learning rate {layer.learning_rate:g} to "
        f"{layer.final_learning_rate:g}"
        for i, layer in enumerate(config.pretrain, start=1)
    )
    first = (
        f"The first layer is the restricted machine {config.model.start}, and those above it began "
        f"near 0, which leaves pixels its probabilities{_faster(table)}"
        if config.model.start and not config.pretrain
        else f"Layer by layer, as restricted machines in which a layer with a second neighbour "
        f"stands twice ({layers})"
    )
    return (
        f"{first}. Then all layers together: centred stochastic maximum likelihood with "
        f"{_posterior(table)} for the data and persistent "
        f"chains of {'/'.join(map(str, sorted({p.sweeps for p in table.phases})))} sweeps for the "
        f"model; {_phases(table)}. Learning rate {table.learning_rate:g} falling linearly to "
        f"{table.final_learning_rate:g}, momentum {table.momentum:g}, L2 {table.weight_decay:g}; "
        f"the exported weights are an exponential average (decay {table.ema_decay:g}). "
        f"{trained.steps:,} updates, {duration(trained.seconds)}."
    )


def _faster(table: JointTable) -> str:
    return "" if table.upper_share == 1 else f"; they learn {table.upper_share:g} times as fast"


def _posterior(table: JointTable) -> str:
    """What stands for p(h | v)."""
    if table.posterior_sweeps:
        return f"{table.posterior_sweeps} Gibbs sweeps from mean-field"
    return f"at most {table.mean_field_updates} rounds of mean-field"


def _phases(table: TrainTable) -> str:
    return phases(table.phases, between=", then ")


def _weights_note(dbm: QuantisedDbm) -> str:
    depth = len(dbm.W)
    return (
        f"`weights.safetensors` holds `weight.1` … `weight.{depth}` [lower, upper] and `bias.0` … "
        f"`bias.{depth}`: integers, of {dbm.bits} bits the weights, each to be taken times its "
        "`.step`. They are the model. E = −Σ b^l·h^l − Σ h^{l−1}ᵀW^l h^l, with "
        "h⁰ the visible units. Sweeps add integers and compare with logistic noise, so that they "
        "depend on no batch size, thread count or device."
    )


def _shape(dbm: QuantisedDbm) -> str:
    return "-".join(map(str, dbm.sizes))
