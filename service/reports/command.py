"""`reverie report`: a synthetic data set beside real data, as a page and its JSON twin.

SYNTHETIC, --real DATA (--held-out DATA) ──► rows, parts ──► Report ──► OUT/report.{html,json}
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from service.reports.figures import Report

ROWS = 2000


def report(  # noqa: PLR0917  options are what a person may give
    synthetic: Annotated[
        Path, typer.Argument(help="The rows in question: a file, a folder, an order's folder.")
    ],
    real: Annotated[Path, typer.Option("--real", help="Real rows, of the same kinds of files.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the report.")] = Path(
        "report"
    ),
    held_out: Annotated[
        Path | None,
        typer.Option(help="Real rows that the generator has not seen; else --real is split."),
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="Images: a model whose features and classes are used.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Tables: the column that classifiers are to tell.")
    ] = None,
    label_column: Annotated[str, typer.Option(help="Images: where their classes are.")] = "label",
    rows: Annotated[int, typer.Option(min=100, help="Rows compared on each side, at most.")] = ROWS,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of rows, and of the split.")] = 0,
    store: Annotated[
        Path, typer.Option("--store", envvar="REVERIE_MODELS_STORE", help="Folder of packages.")
    ] = Path("models_store"),
) -> None:
    """Compare a synthetic data set with real data: fidelity, utility, copies, and an attack.

    Every figure stands beside the same figure of as many real rows that the generator has not seen.
    Reads Parquet, Arrow, CSV, npz, zip and tar files, folders of them, image folders, and orders.
    """
    from service.contract import PackageError  # noqa: PLC0415  other commands need none of this
    from service.errors import ServiceError  # noqa: PLC0415
    from service.reports.comparing import Asked, compared  # noqa: PLC0415
    from service.reports.writing import files_of  # noqa: PLC0415

    asked = Asked(
        synthetic=synthetic,
        real=real,
        held_out=held_out,
        judge=judge,
        target=target,
        label_column=label_column,
        rows=rows,
        seed=seed,
        store=store,
    )
    try:
        made = compared(asked, console=Console(stderr=True, highlight=False))
        out.mkdir(parents=True, exist_ok=True)
        for name, content in files_of(made).items():
            (out / name).write_bytes(content)
    except (ServiceError, PackageError) as error:
        _refuse(str(error))
    except OSError as error:
        _refuse(f"{out} cannot be written: {error.strerror}")
    _tell(made, out)


def _tell(made: Report, out: Path) -> None:
    """What stands out, and where the rest is."""
    console = Console(highlight=False)
    for notice in made.notices:
        console.print(f"[yellow]▲[/] {escape(notice)}", soft_wrap=True)
    if not made.notices:
        console.print("nothing stands out")
    for missing in made.missing:
        console.print(escape(f"not said: {missing.what}: {missing.why}"), soft_wrap=True)
    console.print(escape(f"{out / 'report.html'}, {out / 'report.json'}"), soft_wrap=True)


def _refuse(text: str) -> NoReturn:
    """Say what is wrong on standard error, and leave with status 2."""
    Console(stderr=True, highlight=False).print(f"[red]error:[/] {escape(text)}", soft_wrap=True)
    raise typer.Exit(2)
