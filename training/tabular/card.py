"""The card of a model of tables: what it is, how it was made, what it is worth.

TabularConfig, TableData, figures ──► row_card ──► Markdown
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from service.contract import CategoricalColumn, Column, Quality, TableData
from training.card import ModelCard, Picture, duration, write_card
from training.networks import count_parameters
from training.tabular.config import TabularConfig
from training.tabular.table import Splits


def row_summary(config: TabularConfig, data: TableData, generator: nn.Module) -> str:
    """What the package is, in one sentence."""
    words = sum(isinstance(c, CategoricalColumn) for c in data.columns)
    return (
        f"A tabular GAN on {config.data.title}: {len(data.columns) - words} numeric and {words} "
        f"categorical columns, {count_parameters(generator):,} parameters: rows by seed, rows of a "
        "kind, and missing cells filled in."
    )


def row_card(
    config: TabularConfig,
    data: TableData,
    *,
    summary: str,
    splits: Splits,
    figures: Sequence[Quality],
    facts: dict[str, Any],
) -> str:
    """The card."""
    return write_card(
        ModelCard(
            title=f"{config.name} {config.version}",
            summary=summary,
            uses=(
                "Synthetic rows for tests, demonstrations and teaching; the same bytes for a seed.",
                "Rows of a rare kind (`conditions`, `labels`), and values for missing cells.",
            ),
            limits=(
                "Rows are like the training rows, and no more: the figures below say how like.",
                "Synthetic is not anonymous: counting copies is a check, and no guarantee.",
                "A condition that no training row has is answered all the same, and means little.",
                "Rules between columns (a sum, an order) are learned approximately and not kept.",
            ),
            training_data=_data(config, splits),
            training=_how(config, facts),
            quality=figures,
            pictures=(
                Picture(
                    "preview.png",
                    f"Every column: test rows, and as many of seed {config.seed}. None chosen.",
                ),
            ),
            provenance=facts,
            notes={"The columns": _columns(data), "The function": _notes(data)},
        )
    )


def _data(config: TabularConfig, splits: Splits) -> str:
    return (
        f"{config.data.title}: {len(splits.train):,} rows to train on; {len(splits.held_out):,} "
        f"held out by seed {config.seed} chose the step to keep; {len(splits.test):,} test rows, "
        "the same for every run, were used for the figures below alone, once training was over."
    )


def _how(config: TabularConfig, facts: dict[str, Any]) -> str:
    t, m = config.train, config.model
    return (
        f"Loss: {t.loss}; R₁ and R₂ with γ {t.gamma:g} every {t.penalty_every} steps. Adam, β₁ "
        f"{t.beta1:g}, β₂ {t.beta2:g}, rate {t.learning_rate:g} falling to {t.final_rate:g} of it; "
        f"batch {t.batch}, rows a pack: {m.pack}. Of a batch, {t.one_known:.0%} have one "
        f"choice known, by the logarithm of its frequency, and {t.some_known:.0%} a random "
        f"part. The generator is an exponential average (decay {t.average:g}); of "
        f"{facts['steps']:,} steps, step {facts['best_step']:,} was likest to the held-out rows. "
        f"{duration(facts['training_seconds'])}. "
        + (
            "Then the numbers that modes write were mapped, column by column, from the quantiles "
            "of the generator to those of the training rows."
            if config.transform.match_marginals
            else ""
        )
    )


def _columns(data: TableData) -> str:
    lines = ["| column | kind | values | nulls |", "|---|---|---|---|"]
    lines += [
        f"| {c.name} | {c.kind} | {_values(c)} | {'yes' if c.nullable else 'no'} |"
        for c in data.columns
    ]
    return "\n".join(lines)


def _values(column: Column) -> str:
    if isinstance(column, CategoricalColumn):
        shown = ", ".join(column.categories[:10])
        return shown + (", …" if len(column.categories) > 10 else "")
    kind = "whole, " if column.integer else ""
    return f"{kind}{column.minimum:g} to {column.maximum:g}"


def _notes(data: TableData) -> str:
    return (
        "`generate(z, values, mask) → x`: z is standard normal, `values` an encoded row, `mask` 1 "
        f"for each known column; x has {data.width} numbers. For each column in order: α, where it "
        "has modes, then a score for each choice (values, modes, categories, null), of which the "
        "largest is taken. The manifest's `data.columns` say the rest; `service/domain/rows.py` "
        "carries it out."
    )
