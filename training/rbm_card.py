"""What the card of a restricted Boltzmann machine says.

recipe, exported machine, training, figures ──► rbm_card ──► Markdown
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
    phases,
    training_data,
)
from training.card import ModelCard, duration, write_card
from training.data import Dataset
from training.quantised import QuantisedRbm
from training.rbm import Rbm
from training.rbm_config import RbmConfig

_P_VALUES_MEAN = (
    f"{P_VALUES} It holds for images that are exchangeable with these: `p_value_share` shows how "
    "far the test images are."
)
_OF_MNIST = " (Those of MNIST come from other writers than its training images.)"


@dataclass(frozen=True)
class Trained:
    """A finished training: the averaged machine, what it cost, and its data.

    The last `labels` visible units are label units.
    """

    rbm: Rbm
    steps: int
    seconds: float
    train: Dataset
    held_out: Dataset
    labels: int = 0


def summary(config: RbmConfig, rbm: QuantisedRbm) -> str:
    """What the model is, in a sentence."""
    if config.model.labels:
        return (
            f"A binary restricted Boltzmann machine with label units, {rbm.visible}-{rbm.hidden}, "
            f"on {config.data.title}: samples of a class by Gibbs sweeps that are exact on every "
            "device, exact class probabilities, and free-energy anomaly scores."
        )
    return (
        f"A binary restricted Boltzmann machine, {rbm.visible}-{rbm.hidden}, on "
        f"{config.data.title}: samples by Gibbs sweeps that are exact on every device, "
        "conditional inpainting, and free-energy anomaly scores."
    )


def rbm_card(
    config: RbmConfig,
    rbm: QuantisedRbm,
    trained: Trained,
    figures: Sequence[Quality],
    facts: Mapping[str, Any],
    *,
    drawn: Sequence[str],
) -> str:
    """The card in Markdown; `facts` is the provenance, `drawn` the pictures that are there."""
    return write_card(
        ModelCard(
            title=f"{config.name} {config.version}",
            summary=summary(config, rbm),
            uses=_uses(config),
            limits=(
                *_label_limits(config),
                GREY,
                "A fresh chain may keep to the mode that it falls into for thousands of sweeps.",
                _P_VALUES_MEAN + (_OF_MNIST if config.data.title == "mnist" else ""),
            ),
            training_data=training_data(config, train=trained.train, held_out=trained.held_out),
            training=_how(config, trained),
            quality=figures,
            pictures=chain_pictures(config.export, seed=config.seed, drawn=drawn),
            provenance=facts,
            notes={"The weights": _weights_note(rbm, labels=trained.labels)},
        )
    )


def _uses(config: RbmConfig) -> tuple[str, str]:
    able = "Sampling by class, classification" if config.model.labels else "Sampling, inpainting"
    return (
        f"{able}, interpolation and anomaly scores for images like these.",
        REFERENCE,
    )


def _label_limits(config: RbmConfig) -> tuple[str, ...]:
    if not config.model.labels:
        return ()
    return (
        "It fills no holes: its chains hold a label, which an image with a hole does not have.",
    )


def _how(config: RbmConfig, trained: Trained) -> str:
    table = config.train
    start = "" if config.model.start is None else f"From the weights of {config.model.start}. "
    end = "" if table.schedule == "constant" else (
        f" going to {table.final_learning_rate:g} ({table.schedule})"
    )  # fmt: skip
    sparse = (
        f", sparsity target {table.sparsity_target:g} at cost {table.sparsity_cost:g}"
        if table.sparsity_cost
        else ""
    )
    norm = "" if table.max_norm is None else f", norms at most {table.max_norm:g}"
    return (
        f"{start}{_method(config)}. {phases(table.phases)}. Learning rate "
        f"{table.learning_rate:g}{end}, momentum {table.momentum:g}, L2 "
        f"{table.weight_decay:g}{sparse}{norm}; the exported weights are an exponential average "
        f"(decay {table.ema_decay:g}). {trained.steps:,} updates, {duration(trained.seconds)}."
    )


def _method(config: RbmConfig) -> str:
    """CD or PCD, its sweeps, and what its chains trade states with."""
    table = config.train
    k = "/".join(map(str, sorted({phase.sweeps for phase in table.phases})))
    kind = "CD" if table.chains == "data" else "PCD"
    helped = {
        "tempering": f" with parallel tempering over {table.temperatures} temperatures",
        "trajectory": " with parallel trajectory tempering (a rung where swaps fall under "
        f"{table.least_acceptance:g})",
    }.get(table.chains, "")
    centred = "plain" if table.offsets == "none" else f"centred (offsets: {table.offsets})"
    return f"{kind}-{k}{helped}, {centred}"


def _weights_note(rbm: QuantisedRbm, *, labels: int) -> str:
    last = f" (the last {labels} visible units are label units)" if labels else ""
    return (
        f"`weights.safetensors` holds `weight.1` [{rbm.visible}, {rbm.hidden}], `bias.0` and "
        f"`bias.1`{last}: integers, of {rbm.bits} bits the weights, each to be taken times its "
        f"`.step` of {float(rbm.step):.6g}. They are the model. "
        "E(v, h) = −b·v − c·h − vᵀWh. Sweeps add integers and compare with a table of 65,536 "
        "log-odds, so that they depend on no batch size, thread count or device."
    )
