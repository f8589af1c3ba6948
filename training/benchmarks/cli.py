"""`reverie benchmark`: tables of quality that take a while, each by one command.

anomaly:     config ──► ten classes, each as the normal one ──► AUROC by digit
inpainting:  packages ──► five masks ──► figures of the holes, pictures
modes, stacked, tstr: see training/benchmarks/gan_commands.py
losses:      games ──► one network, the same images ──► a row for each

All go on where they were stopped, and write JSON and Markdown. A further benchmark is a further
`@app.command`.
"""

# Annotations are read at run time, by typer: no `from __future__ import annotations` here.
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from training.benchmarks.anomaly_config import load_anomaly_config
from training.benchmarks.fillers import Filler, MeanImage, NearestNeighbours, PackageFiller
from training.benchmarks.gan_commands import modes, stacked, tstr
from training.benchmarks.inpainting import Settings, Work, picture_rows, run_masks
from training.benchmarks.losses_command import losses
from training.benchmarks.protocol_a import run_protocol
from training.benchmarks.publishing import FreshOption, OutOption, publish_results, use_threads
from training.benchmarks.reports import auroc_grid, inpainting_grids, methods_grid
from training.cli import RunsOption, StoreOption, ThreadsOption, find_package, told_in_one_line
from training.config import ConfigError
from training.data import Dataset, load
from training.judge import load_judge
from training.package import Package
from training.run import Run, stop_on_signals
from training.sheets import png_bytes, sheet

CLASSES = tuple(range(10))

app = typer.Typer(
    help="Measure quality by a fixed protocol: anomaly scores, inpainting, modes of GANs.",
    no_args_is_help=True,
)
for command in (modes, stacked, tstr, losses):
    app.command()(command)


@app.command()
def anomaly(  # noqa: PLR0917  (options are what a person may give)
    config: Annotated[Path, typer.Argument(help="As training/configs/anomaly-rbm.toml.")] = Path(
        "training/configs/anomaly-rbm.toml"
    ),
    digits: Annotated[
        str, typer.Option(help="The classes that take their turn as the normal one, as 0,1.")
    ] = ",".join(map(str, CLASSES)),
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a key, as model.hidden=64.")
    ] = None,
    quick: Annotated[
        bool, typer.Option(help="The whole path in seconds; the table means nothing.")
    ] = False,
    fresh: FreshOption = False,
    out: OutOption = None,
    runs: RunsOption = Path("runs"),
    threads: ThreadsOption = None,
) -> None:
    """Anomaly protocol A: one digit normal, nine anomalous, once for every digit.

    Small Boltzmann machines are trained on each digit alone; their scores stand beside kNN, PCA and
    an isolation forest. Finished digits are kept; the same command goes on after them.

    Examples:
      reverie benchmark anomaly
      reverie benchmark anomaly --digits 0,1 --quick
    """
    words = ["reverie", "benchmark", "anomaly", str(config), "--digits", digits]
    words += [word for override in set_ or [] for word in ("--set", override)]
    words += ["--quick"] if quick else []
    words += [] if runs == Path("runs") else ["--runs", str(runs)]
    with told_in_one_line(again=shlex.join(words)), stop_on_signals() as stop:
        use_threads(threads)
        checked = load_anomaly_config(config, set_ or [], smoke=quick)
        folder = runs / (checked.name + ("-quick" if quick else ""))
        if fresh:
            Run.erase(folder)
        results = run_protocol(
            checked, parse_digits(digits), folder=folder, stop=stop, on_digit=_say_digit
        )
    grids = [auroc_grid(results), methods_grid(results)]
    publish_results(
        results, grids, folder=folder, out=out, name="anomaly", command=shlex.join(words)
    )


@app.command()
def inpainting(  # noqa: PLR0917  (options are what a person may give)
    models: Annotated[list[str], typer.Argument(help="NAME, NAME@VERSION, or package folders.")],
    images: Annotated[int, typer.Option(min=1, help="How many of the first test images.")] = 500,
    fillings: Annotated[int, typer.Option(min=1, max=100, help="Of each image.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Of the fillings.")] = 1,
    data: Annotated[str, typer.Option(help="A data set that the project knows.")] = "mnist",
    pictures: Annotated[
        Path | None, typer.Option(help="Where to write a picture for each model.")
    ] = None,
    fresh: FreshOption = False,
    out: OutOption = None,
    store: StoreOption = Path("models_store"),
    runs: RunsOption = Path("runs"),
    threads: ThreadsOption = None,
) -> None:
    """Fill five fixed holes of test images, and say what the fillings are worth.

    Packages run as the service runs them: the same seed gives the same fillings there. What is
    finished is kept; the same command goes on after it.

    Examples:
      reverie benchmark inpainting mnist-rbm mnist-dcgan
      reverie benchmark inpainting mnist-rbm@1 --images 50 --fillings 2
    """
    words = ["reverie", "benchmark", "inpainting", *models, "--images", str(images)]
    words += ["--fillings", str(fillings), "--seed", str(seed), "--data", data]
    words += [] if runs == Path("runs") else ["--runs", str(runs)]
    with told_in_one_line(again=shlex.join(words)), stop_on_signals() as stop:
        use_threads(threads)
        folder = runs / "inpainting"
        if fresh:
            Run.erase(folder)
        test, train = load(data, "test"), load(data, "train")
        packages = [PackageFiller(Package(find_package(model, store))) for model in models]
        for package in packages:
            package.check(test.shape)
        fillers: list[Filler] = [
            *packages, MeanImage(train.images), NearestNeighbours(train.images)
        ]  # fmt: skip
        results = run_masks(
            fillers,
            test,
            judge=load_judge(data) if test.shape == (1, 28, 28) else None,
            settings=Settings(images=images, fillings=fillings, seed=seed),
            work=Work(folder=folder, stop=stop, on_done=_say_filled),
        )
    if pictures is not None:
        _draw(packages, test, folder=folder, pictures=pictures)
    grids = inpainting_grids(results)
    publish_results(
        results, grids, folder=folder, out=out, name="inpainting", command=shlex.join(words)
    )


def parse_digits(text: str) -> list[int]:
    """`0,1` → [0, 1].

    Raises:
        ConfigError: it is not a list of different classes.
    """
    words = text.replace(",", " ").split()
    if not words or not all(word.isdecimal() for word in words) or len(set(words)) < len(words):
        raise ConfigError(f"--digits {text!r} is not a list of different classes, as 0,1")
    return [int(word) for word in words]


def _say_digit(digit: int, finished: bool) -> None:
    state = "finished before" if finished else "training and scoring"
    Console(stderr=True).print(f"digit {digit}: {state}", highlight=False)


def _say_filled(filler: str, mask: str) -> None:
    Console(stderr=True).print(f"{mask}: {filler}", highlight=False, markup=False)


def _draw(
    packages: Sequence[PackageFiller], test: Dataset, *, folder: Path, pictures: Path
) -> None:
    """A contact sheet for each package."""
    pictures.mkdir(parents=True, exist_ok=True)
    for package in packages:
        tiles, columns = picture_rows(package, test, folder)
        name = f"quality-inpainting-{package.package.manifest.name}.png"
        (pictures / name).write_bytes(png_bytes(sheet(tiles, columns=columns)))
