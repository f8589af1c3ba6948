"""What the card of a deep belief network says.

recipe, exported network, training, figures ──► dbn_card ──► Markdown
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.contract import Quality
from training.boltzmann_card import GREY, REFERENCE, classifier_note, training_data
from training.card import ModelCard, Picture, duration, write_card
from training.classifier import Classifier
from training.data import Dataset
from training.dbn import Dbn
from training.dbn_config import DbnConfig
from training.guide import Guide
from training.quantised_network import QuantisedDbn

STARTS = (
    "Fresh chains begin at the mean activities of the label that is asked for: without sweeps they "
    "are blurred means of it, and a chain that is cut short keeps more of them."
)


@dataclass(frozen=True)
class TrainedDbn:
    """A training's averaged network, what it cost so far, and its data.

    `classifier` and `guide` were fine-tuned from the network, where there are such.
    """

    dbn: Dbn
    classifier: Classifier | None
    guide: Guide | None
    steps: int
    seconds: float
    train: Dataset
    held_out: Dataset


def summary(config: DbnConfig, dbn: QuantisedDbn) -> str:
    """What the model is, in a sentence."""
    sizes = [dbn.down[0].visible, *config.model.hidden]
    labels = f" with {dbn.labels} label units at the top" if dbn.labels else ""
    asked = "samples of the label that is asked for" if dbn.labels else "samples"
    return (
        f"A deep belief network of binary units, {'-'.join(map(str, sizes))}{labels}, on "
        f"{config.data.title}: {asked} by Gibbs sweeps that are exact on every device and a pass "
        "down, features by a pass up, and anomaly scores by the variational bound."
    )


def dbn_card(
    config: DbnConfig,
    dbn: QuantisedDbn,
    trained: TrainedDbn,
    figures: Sequence[Quality],
    facts: Mapping[str, Any],
    *,
    drawn: bool,
) -> str:
    """The card in Markdown; `facts` is the provenance, `drawn` whether samples are shown."""
    rows = "one column for each label" if dbn.labels else "none chosen"
    caption = (
        f"Fresh samples (visible probabilities) after {config.export.burn_in:,} sweeps of the top "
        f"machine, seed {config.seed}; {rows}."
    )
    return write_card(
        ModelCard(
            title=f"{config.name} {config.version}",
            summary=summary(config, dbn),
            uses=(
                "Sampling, interpolation, features and anomaly scores for images like these.",
                REFERENCE,
            ),
            limits=(
                *(STARTS,) * bool(dbn.labels),
                "It cannot fill holes: its layers are directed, and no chain of it holds pixels.",
                GREY,
                "The score takes hidden units at their mean, so that it is near the bound only.",
            ),
            training_data=training_data(config, train=trained.train, held_out=trained.held_out),
            training=_how(config, trained),
            quality=figures,
            pictures=[Picture("preview.png", caption if drawn else "A training image.")],
            provenance=facts,
            notes=_notes(config, dbn, trained),
        )
    )


def _how(config: DbnConfig, trained: TrainedDbn) -> str:
    table = config.train
    phases = "; ".join(
        f"{p.epochs} epochs with batches of {p.batch}, {p.chains} chains and {p.sweeps} sweeps"
        for p in table.phases
    )
    below = "; ".join(
        f"layer {i}: {sum(p.epochs for p in layer.phases)} epochs, learning rate "
        f"{layer.learning_rate:g} to {layer.final_learning_rate:g}"
        for i, layer in enumerate(config.pretrain, start=1)
    )
    first = (
        f"The directed layer is the restricted machine {config.model.start}, and the top machine "
        "began as its mirror image, which gives pixels the same probabilities"
        if config.model.start and not config.pretrain
        else f"Directed layers greedily as restricted machines ({below})"
    )
    return (
        f"{first}. Then the top machine by "
        f"centred PCD: {phases}; learning rate {table.learning_rate:g} falling linearly to "
        f"{table.final_learning_rate:g}, L2 {table.weight_decay:g}. After {table.greedy_epochs} "
        "epochs the directed layers learn too, by wake and sleep, at "
        f"{table.lower_learning_rate:g} falling likewise. The exported weights are an exponential "
        f"average (decay {table.ema_decay:g}). {trained.steps:,} updates, "
        f"{duration(trained.seconds)}."
    )


def _notes(config: DbnConfig, dbn: QuantisedDbn, trained: TrainedDbn) -> dict[str, str]:
    notes = {
        "The weights": (
            "`weights.safetensors` holds for each directed layer `up.i`, `up_bias.i` (recognition) "
            "and `down.i`, `down_bias.i` (generation), [lower, upper], and `top.weight`, "
            "`top.label_weight`, `top.visible_bias`, in which label units come last, and "
            f"`top.hidden_bias`: integers, of {dbn.top.bits} bits the weights, each to be taken "
            "times its `.step`. They are the model."
        )
    }
    if config.guide is not None and trained.guide is not None:
        notes["The guide"] = (
            "A chain that holds a label has what `guide.up` and `guide.down` say of it added to "
            "the inputs of the top machine's units, in place of the label units' own weights. They "
            "were learned alone, by the exact gradient of log p(label | h) on training images "
            f"({config.guide.updates:,} updates of Adam, {config.guide.learning_rate:g} falling to "
            "0), with all of the network fixed, and are taken times "
            f"{config.guide.strength:g}. Guided chains sample the network's h times a "
            "sharper p(label | h) than its own, so that samples of a label vary less than the "
            "network's would, and less than digits do. The bounds and the scores of this page are "
            "the network's; the guide has no part in them."
        )
    table = config.classify
    if table is not None and trained.classifier is not None:
        notes["The classifier"] = classifier_note(table, network="the recognition network")
    return notes
