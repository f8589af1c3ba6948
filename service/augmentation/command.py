"""`reverie augment`: an order made here and now, without a server, into a folder or to a URL.

arguments ──► Asked ──take_in──► Order ──Fulfilment──► OUT/{chunk-….parquet, manifest.json, …}

The same arguments go on where the last run stopped; other ones are refused in the same folder.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from service.augmentation.resolve import Asked, Labels, TopUp

INTERRUPTED = 130  # what a shell gives a program that Ctrl-C ended


def augment(  # noqa: PLR0917  options are what a person may give
    model: Annotated[str, typer.Argument(help="NAME or NAME@VERSION.")],
    out: Annotated[
        str, typer.Option("--out", "-o", help="Folder, or a URL that pyarrow knows (s3://…).")
    ],
    n: Annotated[int | None, typer.Option("--n", "-n", min=1, help="How many rows.")] = None,
    labels: Annotated[
        str | None, typer.Option(help="balanced, or counts by class: 3=500,8=700.")
    ] = None,
    top_up: Annotated[
        Path | None,
        typer.Option(help="A Parquet, CSV or image folder of which more rows are wanted."),
    ] = None,
    to: Annotated[
        str, typer.Option("--to", "--to-counts", help="With --top-up: largest, 5000, or 3=5000.")
    ] = "largest",
    label_column: Annotated[
        str, typer.Option(help="With --top-up: where its labels are.")
    ] = "label",
    format_: Annotated[
        str,
        typer.Option("--format", help="parquet, arrow, npz, csv, webdataset or imagefolder."),
    ] = "parquet",
    dtype: Annotated[str | None, typer.Option(help="Of images: float32 or uint8.")] = None,
    chunk_rows: Annotated[int | None, typer.Option(min=1, help="Rows a file.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Repeats the same files.")] = None,
    truncation: Annotated[float | None, typer.Option(help="GANs: 0 < ψ ≤ 1.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Energy models: above 0.")] = None,
    burn_in: Annotated[int | None, typer.Option(min=0, help="Energy models: sweeps.")] = None,
    values: Annotated[str, typer.Option(help="Energy models: mean or sample.")] = "mean",
    accept_p: Annotated[
        float | None, typer.Option(min=0, max=1, help="Keep rows whose p-value is above this.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="A model that must see the label in the row.")
    ] = None,
    max_draws: Annotated[int, typer.Option(min=1, help="Draws a row at most, over a chunk.")] = 100,
    unique: Annotated[bool, typer.Option("--unique", help="No two rows look the same.")] = False,
    report: Annotated[
        bool, typer.Option(help="Make a quality report once all files are there.")
    ] = True,
    workers: Annotated[
        int, typer.Option(min=1, max=4096, help="Chunks made side by side, or Ray actors.")
    ] = 2,
    backend: Annotated[
        str,
        typer.Option(envvar="REVERIE_AUGMENT_BACKEND", help="Who makes the files: local or ray."),
    ] = "local",
    ray_address: Annotated[
        str,
        typer.Option(envvar="REVERIE_RAY_ADDRESS", help="HOST:PORT of a Ray cluster, or auto."),
    ] = "",
    gpus_per_worker: Annotated[
        float,
        typer.Option(envvar="REVERIE_RAY_GPUS_PER_WORKER", help="GPUs that a Ray actor asks for."),
    ] = 0.0,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only write order.json, for shares made elsewhere.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:N.")] = "auto",
    store: Annotated[
        Path, typer.Option("--store", envvar="REVERIE_MODELS_STORE", help="Folder of packages.")
    ] = Path("models_store"),
) -> None:
    """Make a synthetic data set, file by file; run again, it goes on where it stopped.

    The files are a function of the model and these arguments: how many workers there are, and how
    often it is interrupted, changes no byte. Ends with 0 when every row is there, with 1 when not.
    """
    from pydantic import ValidationError  # noqa: PLC0415  other commands need none of this

    from service.augmentation.order import Acceptance  # noqa: PLC0415
    from service.augmentation.resolve import Asked  # noqa: PLC0415
    from service.errors import ServiceError  # noqa: PLC0415
    from service.settings import Settings  # noqa: PLC0415

    try:
        settings = Settings(
            models_store=store,
            device=device,
            augment_backend=_one_of("backend", backend),
            ray_address=ray_address,
            ray_workers=workers,
            ray_gpus_per_worker=gpus_per_worker,
        )
        asked = Asked(
            model=model,
            n=n,
            seed=seed,
            labels=_labels(labels),
            top_up=None if top_up is None else _top_up(top_up, to, label_column),
            format=_one_of("format", format_),
            dtype=None if dtype is None else _one_of("dtype", dtype),
            chunk_rows=chunk_rows,
            truncation=truncation,
            temperature=temperature,
            burn_in=burn_in,
            values=_one_of("values", values),
            accept=Acceptance(max_p_value_rejected=accept_p, judge=judge, max_draws=max_draws),
            unique=unique,
            report=report,
        )
        code = asyncio.run(_fulfil(asked, out, settings, workers, plan=plan))
    except ValidationError as error:
        first = error.errors()[0]
        _refuse(f"setting {first['loc'][0]}={first['input']!r}: {first['msg']}")
    except ServiceError as error:
        _refuse(error.detail)
    except KeyboardInterrupt:
        _say("stopped; the same command goes on from here")
        code = INTERRUPTED
    raise typer.Exit(code)


async def _fulfil(
    asked: Asked,
    out: str,
    settings: Any,  # noqa: ANN401
    workers: int,
    *,
    plan: bool,
) -> int:
    """Take the order in and run it to its end; the exit status."""
    from service.augmentation.bench import Bench  # noqa: PLC0415

    async with Bench(asked, out, settings) as bench:
        return await bench.run(workers, plan=plan)


def _labels(given: str | None) -> Labels | None:
    return given if given is None or given == "balanced" else _counts("labels", given)  # type: ignore[return-value]


def _top_up(path: Path, to: str, column: str) -> TopUp:
    from service.augmentation.resolve import TopUp  # noqa: PLC0415
    from service.augmentation.topup import class_counts  # noqa: PLC0415

    wanted: Any = to if to == "largest" else int(to) if to.isdecimal() else _counts("to", to)
    return TopUp(have=class_counts(path, column=column), to=wanted)


def _counts(option: str, text: str) -> dict[str, int]:
    """`3=500,8=700` as counts by label."""
    from service.errors import InvalidInput  # noqa: PLC0415

    found: dict[str, int] = {}
    for part in text.split(","):
        label, equals, count = part.strip().rpartition("=")
        if not equals or not count.replace("_", "").isdecimal() or label in found:
            raise InvalidInput(f"--{option} {text!r}: {part!r} is not LABEL=COUNT, each label once")
        found[label] = int(count)
    return found


def _one_of(option: str, given: str) -> Any:  # noqa: ANN401  one of the literals
    from typing import get_args  # noqa: PLC0415

    from service.augmentation.order import Dtype, Format  # noqa: PLC0415
    from service.errors import InvalidInput  # noqa: PLC0415

    known = {
        "format": get_args(Format),
        "dtype": get_args(Dtype),
        "values": ("mean", "sample"),
        "backend": ("local", "ray"),
    }
    if given not in known[option]:
        raise InvalidInput(f"--{option} {given!r} is not one of {', '.join(known[option])}")
    return given


def _say(text: str) -> None:
    Console(highlight=False).print(escape(text), soft_wrap=True)


def _refuse(text: str) -> NoReturn:
    """Say what is wrong on standard error, and leave with status 2."""
    Console(stderr=True, highlight=False).print(f"[red]error:[/] {escape(text)}", soft_wrap=True)
    raise typer.Exit(2)
