"""Write the generated tables of docs/operating.md anew: `make docs`.

Settings ──► table of settings     ┐
Metrics  ──► table of metrics      ┴──► between the markers in operating.md
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prometheus_client.metrics import MetricWrapperBase

from service.metrics import Metrics
from service.settings import Settings

GUIDE = Path(__file__).with_name("operating.md")
BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "pattern": "`{}`",
}


def settings_table() -> str:
    """Every setting: its variable, default, bounds and description."""
    rows = []
    for name, schema in Settings.model_json_schema()["properties"].items():
        default = schema.get("default", "")
        shown = f"`{default}`" if default not in ("", [], ()) else "none"
        rows.append((f"`REVERIE_{name.upper()}`", shown, bounds(schema), schema["description"]))
    return table("variable", "default", "bounds", "meaning", rows=rows)


def bounds(schema: dict[str, Any]) -> str:
    """The bounds of one setting, as a reader would write them."""
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    return ", ".join(form.format(schema[key]) for key, form in BOUNDS.items() if key in schema)


def metrics_table() -> str:
    """Every instrument: its name, type, labels and description."""
    rows = []
    for instrument in vars(Metrics()).values():
        if isinstance(instrument, MetricWrapperBase):
            (family,) = instrument.describe()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = ", ".join(instrument._labelnames)  # noqa: SLF001  has no public name
            rows.append((f"`{name}`", family.type, labels, family.documentation))
    return table("metric", "type", "labels", "meaning", rows=rows)


def table(*head: str, rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; what would be markup in a cell is escaped."""
    lines = [head, ("---",) * len(head), *rows]
    cells = ((cell.replace("|", "\\|").replace("<", "&lt;") for cell in line) for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def with_tables(text: str) -> str:
    """`text` with each generated part replaced by what the code says now."""
    for name, content in (("settings", settings_table()), ("metrics", metrics_table())):
        begin, end = f"<!-- {name}: make docs -->", f"<!-- /{name} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"{GUIDE.name} must have {begin} … {end}")
        text = f"{before}{begin}\n\n{content}\n\n{end}{after}"
    return text


if __name__ == "__main__":
    GUIDE.write_text(with_tables(GUIDE.read_text("utf-8")), "utf-8")
