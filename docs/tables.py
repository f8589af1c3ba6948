"""Write the generated tables of the README and of the pages in docs/ anew: `make docs`.

Settings ──► table of settings  ┐
Metrics  ──► table of metrics   ┼──► between the markers of each page
models_store ──► their figures  │
docs/results ──► benchmarks     ┘
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_client.metrics import MetricWrapperBase

from service.contract import Quality, read_manifest
from service.loading import package_directories
from service.metrics import Metrics
from service.settings import Settings
from training.benchmarks.losses import losses_grid
from training.benchmarks.modes_report import modes_grids, stacked_grid, tstr_grid
from training.benchmarks.reports import auroc_grid, inpainting_grids, methods_grid

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


def headline_table() -> str:
    """What each published model is and its headline figures, beside their real-data floors."""
    rows = []
    for directory in package_directories(STORE):
        manifest = read_manifest(directory)
        card = f"[{manifest.name}](models_store/{manifest.name}/{manifest.version}/card.md)"
        for figure in (figure for figure in manifest.quality if figure.name in HEADLINES):
            rows.append((card, *figure_cells(figure)))
            card = ""
    return table("model", "figure", "value", "interval", "real data", rows=rows)


def models_sections() -> str:
    """Every published model: what it does, and every figure with the command that makes it."""
    sections = []
    for directory in package_directories(STORE):
        manifest = read_manifest(directory)
        package = f"../models_store/{manifest.name}/{manifest.version}"
        bytes_all = sum(path.stat().st_size for path in directory.iterdir())
        figures = [
            (*figure_cells(figure), f"`{figure.command}`" if figure.command else "")
            for figure in manifest.quality
        ]
        sections += [
            f"## {manifest.name}",
            manifest.description,
            f"[Card]({package}/card.md), {bytes_all / 1e6:.1f} MB.",
            table("figure", "value", "interval", "real data", "command", rows=figures),
        ]
    return "\n\n".join(sections)


def figure_cells(figure: Quality) -> tuple[str, str, str, str]:
    """The name, the value with its unit, the interval and the real-data floor of a figure."""
    return (
        figure.name.replace("_", " "),
        f"{number(figure.value)} {figure.unit}".strip(),
        "" if figure.interval is None else " … ".join(map(number, figure.interval)),
        "" if figure.floor is None else number(figure.floor),
    )


def auroc_table() -> str:
    """AUROC of each score, by the digit that is normal."""
    return auroc_grid(results("anomaly")).markdown()


def scores_table() -> str:
    """How each score was chosen, and how honest its p-values are."""
    return methods_grid(results("anomaly")).markdown()


def inpainting_tables() -> str:
    """A table for each mask."""
    grids = inpainting_grids(results("inpainting"))
    return "\n\n".join(f"### {grid.title.capitalize()}\n\n{grid.markdown()}" for grid in grids)


def modes_tables() -> str:
    """A table for each set of points."""
    grids = modes_grids(results("modes"))
    return "\n\n".join(f"### {grid.title.capitalize()}\n\n{grid.markdown()}" for grid in grids)


def losses_table() -> str:
    """Every loss of a GAN, on the same network and as many images."""
    return losses_grid(results("losses")).markdown()


def stacked_table() -> str:
    """Modes of stacked digits, against images seen."""
    return stacked_grid(results("stacked")).markdown()


def tstr_table() -> str:
    """Classifiers that learned from samples, beside those that learned from real images."""
    return tstr_grid(results("tstr-mnist-cgan")).markdown()


def results(name: str) -> dict[str, Any]:
    """What `reverie benchmark` wrote under docs/results."""
    found: dict[str, Any] = json.loads((ROOT / f"docs/results/{name}.json").read_text("utf-8"))
    return found


def number(value: float) -> str:
    """Four digits, as a reader would write them."""
    return f"{value:.4g}"


def with_tables(text: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """`text` with each generated part replaced by what the code and the store say now."""
    for name, write in tables.items():
        begin, end = f"<!-- {name}: make docs -->", f"<!-- /{name} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"{begin} … {end} is missing")
        text = f"{before}{begin}\n\n{write()}\n\n{end}{after}"
    return text


# What the README shows of a model; docs/models.md has the rest.
HEADLINES = {
    "test_log_probability",
    "test_bound",
    "test_error",
    "samples_read_as_asked",
    "frechet_distance",
    "coverage",
    "column_shapes",
    "pair_trends",
}
ROOT = Path(__file__).parent.parent
STORE = ROOT / "models_store"
PAGES: Mapping[Path, Mapping[str, Callable[[], str]]] = {
    ROOT / "docs/operating.md": {"settings": settings_table, "metrics": metrics_table},
    ROOT / "docs/quality.md": {
        "auroc": auroc_table,
        "scores": scores_table,
        "inpainting": inpainting_tables,
        "tstr": tstr_table,
    },
    ROOT / "docs/mode-collapse.md": {"modes": modes_tables, "stacked": stacked_table},
    ROOT / "docs/gans.md": {"losses": losses_table},
    ROOT / "docs/models.md": {"models": models_sections},
    ROOT / "README.md": {"quality": headline_table},
}


if __name__ == "__main__":
    for page, tables in PAGES.items():
        page.write_text(with_tables(page.read_text("utf-8"), tables), "utf-8")
