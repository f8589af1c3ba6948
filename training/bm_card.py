"""What the card of a Boltzmann machine says.

recipe, exported machines, training, figures ──► bm_card ──► Markdown
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.contract import Quality
from training.bm_config import BmConfig, BmModelTable
from training.bm_connections import colour_blocks
from training.bm_quantised import QuantisedBm
from training.bm_training import Machines
from training.boltzmann_card import GREY, P_VALUES, chain_pictures, training_data
from training.card import ModelCard, duration, number, write_card
from training.data import Dataset

_ONE_AFTER_THE_OTHER = (
    "Connected units are drawn one after the other: a sweep is many small steps in a row, where "
    "that of a restricted machine is two."
)
_HOW_SAMPLES_ARE_MADE = (
    "Fresh samples (each pixel's probability given all others) after {burn_in:,} sweeps from "
    "independent units"
)
_MEANS_OF_ONE_STATE = (
    "`mean` images are each pixel's probability given all other units of one 0/1 state, and so "
    "noisier than those of a restricted machine; `values=sample` is that state."
)


@dataclass(frozen=True)
class TrainedBm:
    """A finished training: the averaged machine and its rivals, what they cost, and the data."""

    machines: Machines
    steps: int
    seconds: float
    train: Dataset
    held_out: Dataset


def summary(config: BmConfig, bm: QuantisedBm) -> str:
    """What the model is, in a sentence."""
    return (
        f"A Boltzmann machine of binary units, {_size(config.model, bm.visible)}, "
        f"{_links_words(config.model)}, on {config.data.title}: samples and conditional "
        "inpainting by Gibbs sweeps that are exact on every device, and anomaly scores by the "
        f"{'free energy' if bm.hidden_are_free else 'variational bound'}."
    )


def bm_card(
    config: BmConfig,
    bm: QuantisedBm,
    trained: TrainedBm,
    figures: Sequence[Quality],
    facts: Mapping[str, Any],
    *,
    drawn: Sequence[str],
) -> str:
    """The card in Markdown; `facts` is the provenance, `drawn` the pictures that are there."""
    notes = {"The weights": _weights_note(bm)}
    if config.rivals:
        notes = {"What the connections buy": _comparison(config, trained, figures)} | notes
    return write_card(
        ModelCard(
            title=f"{config.name} {config.version}",
            summary=summary(config, bm),
            uses=(
                "Sampling, inpainting, interpolation and anomaly scores for images like these.",
                "Seeing what the restriction of restricted machines buys, and what it costs.",
            ),
            limits=(
                GREY,
                _ONE_AFTER_THE_OTHER,
                _MEANS_OF_ONE_STATE,
                P_VALUES,
            ),
            training_data=training_data(config, train=trained.train, held_out=trained.held_out),
            training=_how(config, trained),
            quality=figures,
            pictures=chain_pictures(
                config.export, seed=config.seed, drawn=drawn, samples=_HOW_SAMPLES_ARE_MADE
            ),
            provenance=facts,
            notes=notes,
        )
    )


def _comparison(config: BmConfig, trained: TrainedBm, figures: Sequence[Quality]) -> str:
    by_name = {q.name: q for q in figures}
    lines = [
        "Trained in one run, by one table, on the same images; figures of the exported weights.",
        "",
        f"| machine | connections | weights | steps a sweep | test | {config.name} better by |",
        "|---|---|---|---|---|---|",
        _line(config.name, config.model, trained, by_name.get("test_log_probability"), None),
    ]
    for rival in config.rivals:
        own = by_name.get(f"{rival.name}_test_log_probability")
        gain = by_name.get(f"gain_over_{rival.name}")
        lines.append(_line(rival.name, rival, trained, own, gain))
    return "\n".join(lines)


def _line(
    name: str,
    model: BmModelTable,
    trained: TrainedBm,
    own: Quality | None,
    gain: Quality | None,
) -> str:
    links = model.links(trained.train.shape)
    visible = len(links) - model.hidden
    cells = (
        f"{name}, {_size(model, visible)}",
        _links_words(model),
        f"{int(links.sum()) // 2:,}",
        f"{len(colour_blocks(links, visible=visible))}",
        "–" if own is None else f"{number(own.value)} nats",
        "–" if gain is None else _with_interval(gain),
    )
    return "| " + " | ".join(cells) + " |"


def _with_interval(q: Quality) -> str:
    ends = "" if q.interval is None else f" ({q.interval[0]:+.2f} … {q.interval[1]:+.2f})"
    return f"{q.value:+.2f}{ends} nats"


def _size(model: BmModelTable, visible: int) -> str:
    return f"{visible}-{model.hidden}"


def _links_words(model: BmModelTable) -> str:
    if model.visible_links == "all" and model.hidden_links == "all":
        return "fully connected"
    inside = {"all": "all pixels", "neighbours": "neighbouring pixels", "none": ""}
    parts = [inside[model.visible_links], "hidden units" if model.hidden_links == "all" else ""]
    named = " and ".join(part for part in parts if part)
    return f"restricted but for links among {named}" if named else "restricted"


def _how(config: BmConfig, trained: TrainedBm) -> str:
    table = config.train
    phases = "; ".join(
        f"{p.epochs} epochs with batches of {p.batch}, {p.chains} persistent chains and "
        f"{p.sweeps} {'sweep' if p.sweeps == 1 else 'sweeps'} an update"
        for p in table.phases
    )
    if table.gradient == "exact":
        how = "Exact maximum likelihood: both phases by enumeration"
    elif config.model.hidden_links == "none":
        how = "Centred stochastic maximum likelihood: the posterior of hidden units is exact"
    elif table.posterior == "mean-field":
        how = (
            "Centred stochastic maximum likelihood: hidden units by at most "
            f"{table.mean_field_updates} rounds of mean-field for the data"
        )
    else:
        how = (
            f"Centred stochastic maximum likelihood: {table.posterior_sweeps} clamped sweeps for "
            "the data"
        )
    rivals = f", {len(config.rivals)} rivals included" if config.rivals else ""
    return (
        f"{how}. {phases}. Learning rate {table.learning_rate:g} falling linearly to "
        f"{table.final_learning_rate:g}, momentum {table.momentum:g}, L2 {table.weight_decay:g}; "
        f"the exported weights are an exponential average (decay {table.ema_decay:g}). "
        f"{trained.steps:,} updates, {duration(trained.seconds)}{rivals}."
    )


def _weights_note(bm: QuantisedBm) -> str:
    return (
        f"`weights.safetensors` holds `weight.1` [{bm.visible}, {bm.units - bm.visible}] between "
        "the layers, `bias.0`, `bias.1`, and `lateral.0`, `lateral.1` (symmetric, 0 on the "
        f"diagonal) inside a layer that has links: the exported {bm.bits}-bit integers times one "
        f"step of {float(bm.step):.6g}, which are the model. E(x) = −½ xᵀWx − b·x over x = (v, h)."
        " A unit is on where its integer input exceeds ⌊noise/(s·β)⌋, so that sweeps depend on no "
        "batch size, thread count or device. The rivals' are in `rival-<name>.safetensors`, as "
        "integers with their `step`."
    )
