"""The model card: one Markdown page that a person reads before using a model.

ModelCard ──► write_card ──► card.md, with pictures by relative file name
figures ──► quality_table ──► the same for a terminal
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from service.contract import Quality


@dataclass(frozen=True)
class Picture:
    """A file of the package, and what one sees in it."""

    file: str
    caption: str


@dataclass(frozen=True)
class ModelCard:
    """The parts of a card.

    Attributes:
        title: `name@version`, or a nicer one.
        summary: what it is, a paragraph.
        uses: what it is meant for, one line each.
        limits: what it is not good for, one line each.
        training_data: a paragraph.
        training: how it was trained, a paragraph.
        quality: figures with their protocols.
        pictures: shown in order.
        provenance: as `training.provenance.provenance` gives it.
        notes: further sections, heading → Markdown.
    """

    title: str
    summary: str
    uses: Sequence[str]
    limits: Sequence[str]
    training_data: str
    training: str
    quality: Sequence[Quality]
    pictures: Sequence[Picture]
    provenance: Mapping[str, Any]
    notes: Mapping[str, str]


def write_card(card: ModelCard) -> str:
    """The card as Markdown."""
    first, *others = card.pictures
    sections = [
        f"# {card.title}\n\n{card.summary}",
        _picture(first),
        "## Intended use\n\n" + _list(card.uses),
        "## Limits\n\n" + _list(card.limits),
        "## Quality\n\n" + quality_markdown(card.quality),
        *(_picture(picture) for picture in others),
        "## Training data\n\n" + card.training_data,
        "## Training\n\n" + card.training,
        *(f"## {heading}\n\n{text}" for heading, text in card.notes.items()),
        "## Provenance\n\n" + _provenance(card.provenance),
    ]
    return "\n\n".join(sections) + "\n"


def quality_markdown(figures: Sequence[Quality]) -> str:
    """The figures as a Markdown table: value, interval, floor, protocol, command."""
    lines = [
        "| figure | value | interval | real-data floor | protocol | command |",
        "|---|---|---|---|---|---|",
    ]
    for q in figures:
        value = f"{number(q.value)} {q.unit}".strip()
        interval = f"{number(q.interval[0])} … {number(q.interval[1])}" if q.interval else "–"
        floor = "–" if q.floor is None else number(q.floor)
        command = f"`{q.command}`" if q.command else "–"
        cells = (q.name, value, interval, floor, q.protocol.replace("|", "\\|"), command)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def quality_table(title: str, figures: Sequence[Quality]) -> Table:
    """The figures as a table for a terminal."""
    table = Table(title=title, title_justify="left")
    for column in ("figure", "value", "interval", "floor"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for q in figures:
        interval = f"{number(q.interval[0])} … {number(q.interval[1])}" if q.interval else ""
        floor = "" if q.floor is None else number(q.floor)
        table.add_row(q.name, f"{number(q.value)} {q.unit}".strip(), interval, floor)
    return table


def number(value: float) -> str:
    """Enough digits to compare by: five significant ones, no exponent where it can be helped."""
    return f"{value:.5g}" if abs(value) >= 1e-3 or value == 0 else f"{value:.2e}"


def duration(seconds: float) -> str:
    """A time span in words: 47 s, 31 min, 5.2 h."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _picture(picture: Picture) -> str:
    return f"![{picture.caption}]({picture.file})\n\n*{picture.caption}*"


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _training_time(facts: Mapping[str, Any]) -> list[str]:
    """Nothing where it was not recorded."""
    seconds = facts["training_seconds"]
    return [f"Training time: {duration(seconds)} on {facts['device']}"] if seconds else []


def _provenance(facts: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {v}" for name, v in facts.get("versions", {}).items())
    lines = [
        f"Command: `{facts['command']}`",
        f"Seed: {facts['seed']}",
        f"Updates: {facts['steps']:,}",
        *_training_time(facts),
        f"Versions: {versions}",
        f"Source: {facts['commit'] or 'no commit'}",
        f"Made: {facts['created']}",
    ]
    return _list(lines)
