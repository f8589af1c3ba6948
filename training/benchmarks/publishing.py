"""What all benchmark commands share: their options, and how results are printed and written.

results, grids ──► tables on the terminal, <folder>/<name>.{json,md}, and <out>/<name>.json
"""

# Annotations are read at run time, by typer: no `from __future__ import annotations` here.
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from training.benchmarks.reports import Grid
from training.provenance import commit, versions

OutOption = Annotated[
    Path | None, typer.Option(help="Where to write the results as well, as docs/results.")
]
FreshOption = Annotated[bool, typer.Option(help="Erase what is there, and begin.")]


def use_threads(threads: int | None) -> None:
    """As many as a person asked for, or as many as there are."""
    if threads is not None:
        torch.set_num_threads(threads)


def say_done(what: str, how: str) -> None:
    """A line about a part that is finished."""
    Console(stderr=True).print(f"{what}: {how}", highlight=False, markup=False)


def publish_results(
    results: dict[str, Any],
    grids: Sequence[Grid],
    *,
    folder: Path,
    out: Path | None,
    name: str,
    command: str,
) -> None:
    """Print the tables, and write them with the results."""
    made = results | {"command": command, "commit": commit(), "versions": versions()}
    pages = "\n\n".join(f"## {grid.title}\n\n{grid.markdown()}" for grid in grids)
    for place in [folder] + ([] if out is None else [out]):
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{name}.json").write_text(json.dumps(made, indent=2) + "\n", "utf-8")
    (folder / f"{name}.md").write_text(pages + "\n", "utf-8")
    console = Console()
    for grid in grids:
        console.print(grid.for_terminal())
    console.print(f"written: {folder / name}.json", markup=False, soft_wrap=True)
