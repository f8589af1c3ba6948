"""The `reverie` command.

reverie serve | sample | models list, verify, add, reload   here
reverie augment                                             service/augmentation/command.py
reverie report                                              service/reports/command.py
reverie train | export | evaluate | benchmark               from the training package, if installed
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from service.augmentation.command import augment
from service.reports.command import report
from service.settings import Settings

app = typer.Typer(
    name="reverie",
    help="Train generative models offline; serve their samples, interpolations, inpaintings and "
    "anomaly scores over REST.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models = typer.Typer(help="List, verify and add model packages.", no_args_is_help=True)
app.add_typer(models, name="models")

_TRAINING_COMMANDS = {
    "train": "Train a model from a recipe, evaluate it, and publish it.",
    "export": "Export a training run again from its newest checkpoint.",
    "evaluate": "Recompute and print the quality figures of a published model.",
    "benchmark": "Measure quality by a fixed protocol: anomaly scores, inpainting.",
}

_ANY_ARGUMENTS = {"allow_extra_args": True, "ignore_unknown_options": True}

Store = Annotated[
    Path,
    typer.Option(
        "--store",
        envvar="REVERIE_MODELS_STORE",
        help="Folder of model packages.",
        show_default=True,
    ),
]
_DEFAULT_STORE = Path("models_store")


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on. [127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port; 0 takes a free one. [8000]")] = None,
    store: Annotated[
        Path | None, typer.Option(help="Folder of model packages. [models_store]")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu or cuda:N. [auto]", metavar="DEVICE")
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="auto, json or text. [auto]")] = None,
) -> None:
    """Serve every model in the store over HTTP.

    Every setting can also be given as REVERIE_<NAME> in the environment or in a .env file; options
    here win. docs/operating.md lists them all.
    """
    from service.app import create_app  # noqa: PLC0415  the other commands need no web framework
    from service.logs import configure  # noqa: PLC0415
    from service.serving import serve as run  # noqa: PLC0415

    given = {"host": host, "port": port, "models_store": store, "device": device,
             "log_format": log_format}  # fmt: skip
    settings = _settings(**{name: value for name, value in given.items() if value is not None})
    if not (settings.models_store.is_dir() and os.access(settings.models_store, os.R_OK | os.X_OK)):
        _refuse(f"models_store={settings.models_store} is not a folder that can be read")
    configure(settings)
    run(create_app(settings), settings)


@app.command()
def sample(
    model: Annotated[str, typer.Argument(help="NAME or NAME@VERSION.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="PNG to write, CSV of a table; samples.png, samples.csv."),
    ] = None,
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="How many samples.")] = 64,
    seed: Annotated[int | None, typer.Option(min=0, help="Repeats the same samples.")] = None,
    truncation: Annotated[float | None, typer.Option(help="GANs: 0 < ψ ≤ 1.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Energy models: above 0.")] = None,
    burn_in: Annotated[int | None, typer.Option(help="Energy models: sweeps.")] = None,
    label: Annotated[
        list[int] | None, typer.Option(help="Class label; repeat for one a sample.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:N.")] = "auto",
    store: Store = _DEFAULT_STORE,
) -> None:
    """Draw samples into a PNG contact sheet, or rows of a table into CSV, without a server."""
    from service.api.encoding import contact_sheet_png  # noqa: PLC0415
    from service.api.tables import csv_rows  # noqa: PLC0415
    from service.engine import open_engine  # noqa: PLC0415
    from service.errors import ServiceError  # noqa: PLC0415
    from service.queries import Call, Sample, Sampled  # noqa: PLC0415

    query = Sample(
        n=n,
        seed=seed,
        truncation=truncation,
        temperature=temperature,
        burn_in=burn_in,
        labels=tuple(label) if label else None,
    )

    async def draw() -> Sampled:
        settings = _settings(models_store=store, device=device)
        engine = await open_engine(settings, only=model.partition("@")[0])
        try:
            call = Call.lasting(3600.0)
            result = await engine.run(engine.registry.get(model), query, call)
            assert isinstance(result, Sampled)
            return result
        finally:
            await engine.stop()

    try:
        result = asyncio.run(draw())
    except ServiceError as error:
        _refuse(str(error))
    table, made = result.table, result.samples
    out = out or Path("samples.png" if table is None else "samples.csv")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(contact_sheet_png(made) if table is None else csv_rows(table, made))
    _say(f"{n} samples of {model}, seed {result.seed}: {out}")


app.command()(augment)
app.command()(report)


@models.command("list")
def list_models(store: Store = _DEFAULT_STORE) -> None:
    """List the packages in the store, and what each can do."""
    from rich.table import Table  # noqa: PLC0415

    from service.contract import PackageError, read_manifest  # noqa: PLC0415
    from service.loading import package_directories  # noqa: PLC0415

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("model", "family", "size", "can", "digest"):
        table.add_column(column)
    for directory in package_directories(store):
        name = f"{directory.parent.name}@{directory.name}"
        size = sum(f.stat().st_size for f in directory.iterdir())
        try:
            manifest = read_manifest(directory)
        except PackageError as error:
            table.add_row(name, "", _megabytes(size), f"[red]{escape(str(error))}[/]", "")
            continue
        table.add_row(
            name,
            manifest.family,
            _megabytes(size),
            ", ".join(manifest.capabilities),
            manifest.digest[:19] + "…",
        )
    if not table.row_count:
        _refuse(f"no packages under {store}: train one, or `reverie models add FILE.onnx`")
    Console().print(table)


@models.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="NAME or NAME@VERSION; all when left out.")
    ] = None,
    store: Store = _DEFAULT_STORE,
) -> None:
    """Check digests, graphs against manifests, and a trial run of every function."""
    from service.contract import PackageError  # noqa: PLC0415
    from service.loading import open_model, package_directories  # noqa: PLC0415

    settings = _settings(models_store=store, device="cpu")
    wanted, failures, checked = set(names or ()), 0, 0
    for directory in package_directories(store):
        name, version = directory.parent.name, directory.name
        if wanted and not wanted & {name, f"{name}@{version}"}:
            continue
        checked += 1
        try:
            model = open_model(directory, settings)
        except PackageError as error:
            failures += 1
            _mark(f"[red]✗[/] {name}@{version}: {escape(str(error))}")
        else:
            functions = ", ".join(model.manifest.functions)
            _mark(f"[green]✓[/] {name}@{version}: {functions}\n  {escape(model.seed_promise)}")
    if not checked:
        _refuse(f"no such package under {store}: `reverie models list` shows those there are")
    if failures:
        raise typer.Exit(1)


@models.command()
def add(
    file: Annotated[
        Path, typer.Argument(help="An ONNX generator: latent in, images out.", exists=True)
    ],
    name: Annotated[
        str | None, typer.Option(help="Name of the package; the file's by default.")
    ] = None,
    version: Annotated[int, typer.Option(min=1, help="Version of the package.")] = 1,
    prior: Annotated[str, typer.Option(help="Latent prior: normal or uniform.")] = "normal",
    description: Annotated[str, typer.Option(help="What it is, in a sentence.")] = "",
    store: Store = _DEFAULT_STORE,
) -> None:
    """Check any exported generator and write the package that serves it.

    The file is read for the names, types and shapes of its inputs and outputs; it must take a
    dynamic batch axis, give finite images of 1 or 3 channels, and keep its weights inside.
    """
    from pydantic import ValidationError  # noqa: PLC0415

    from service.contract import PackageError  # noqa: PLC0415
    from service.imports import add_generator  # noqa: PLC0415

    if prior not in {"normal", "uniform"}:
        _refuse(f"prior {prior!r} is neither normal nor uniform")
    chosen = name or file.stem.lower().replace(" ", "-")
    if (store / chosen / str(version) / "manifest.json").exists():
        _refuse(f"{chosen}@{version} is there already: choose another --name or --version")
    try:
        imported = add_generator(
            file.read_bytes(),
            store=store,
            name=chosen,
            version=version,
            prior=prior,  # type: ignore[arg-type]
            description=description,
        )
    except PackageError as error:
        _refuse(f"{file.name}: {error}")
    except ValidationError as error:
        first = error.errors()[0]
        _refuse(f"{first['loc'][-1]}={first['input']!r}: {first['msg']}")
    for finding in imported.findings:
        _say(f"  {finding}")
    _say(f"added {imported.manifest.id}: {imported.directory}")


@models.command()
def reload(
    port: Annotated[int | None, typer.Option(help="Port of the running service. [8000]")] = None,
) -> None:
    """Have the running service load what the store holds now; no request fails.

    New and changed packages are verified and warmed before they are swapped in; requests in flight
    end on the model they began with. The same as sending SIGHUP to the service.
    """
    from service.serving import ask_to_reload  # noqa: PLC0415

    settings = _settings(**({} if port is None else {"port": port}))
    try:
        pid = ask_to_reload(settings.pid_file)
    except ProcessLookupError as error:
        _refuse(f"{error}: is `reverie serve` running on port {settings.port}, in this folder?")
    _say(f"asked process {pid} to reload; its log and GET /v1/models tell the outcome")


def _add_training_commands(asked: str | None) -> None:
    """Put `train` and its kin beside the rest, or say how to get them.

    The training package imports torch, which takes seconds: only the command asked for is loaded.
    """
    found = {entry.name: entry for entry in entry_points(group="reverie.commands")}
    for name, help_text in _TRAINING_COMMANDS.items():
        if name != asked:
            app.command(name, help=help_text, context_settings=_ANY_ARGUMENTS)(_absent(name))
            continue
        try:
            loaded = found[name].load()
            if isinstance(loaded, typer.Typer):
                app.add_typer(loaded, name=name)
            else:
                app.command(name)(loaded)
        except (KeyError, ModuleNotFoundError):
            app.command(name, help=help_text, context_settings=_ANY_ARGUMENTS)(_absent(name))


def _absent(name: str) -> Callable[[], None]:
    def tell() -> None:
        _refuse(f"reverie {name} needs the training extra: pip install 'reverie[train]'")

    return tell


def _settings(**given: Any) -> Settings:
    from pydantic import ValidationError  # noqa: PLC0415

    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        _refuse(f"setting {first['loc'][0]}={first['input']!r}: {first['msg']}")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _say(text: str) -> None:
    Console(highlight=False).print(escape(text), soft_wrap=True)


def _mark(markup: str) -> None:
    Console(highlight=False).print(markup, soft_wrap=True)


def _refuse(text: str) -> NoReturn:
    """Say what is wrong on standard error, and leave with status 2."""
    Console(stderr=True, highlight=False).print(f"[red]error:[/] {escape(text)}", soft_wrap=True)
    raise typer.Exit(2)


def main() -> None:
    """Entry point of the `reverie` command."""
    _add_training_commands(sys.argv[1] if len(sys.argv) > 1 else None)
    app()


if __name__ == "__main__":
    main()
