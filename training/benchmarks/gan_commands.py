"""`reverie benchmark modes | stacked | tstr`: what generators cover, and what samples are worth.

modes:    ring, grid ──ten trials a method──► modes captured, high quality, reverse KL
stacked:  three digits as channels ──► modes of 1,000 against images seen
tstr:     a package's samples ──classifier──► right on real test images
"""

# Annotations are read at run time, by typer: no `from __future__ import annotations` here.
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from training.benchmarks.inpainting import Work
from training.benchmarks.modes import run_modes
from training.benchmarks.modes_config import load_modes_config
from training.benchmarks.modes_report import modes_grids, stacked_grid, tstr_grid
from training.benchmarks.publishing import (
    FreshOption,
    OutOption,
    publish_results,
    say_done,
    use_threads,
)
from training.benchmarks.stacked import load_stacked_config, run_stacked
from training.benchmarks.tstr import Protocol, run_arms
from training.cli import RunsOption, StoreOption, ThreadsOption, find_package, told_in_one_line
from training.data import load
from training.package import Package
from training.run import Run, stop_on_signals

SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Override a key, as train.steps=2000.")
]
QuickOption = Annotated[
    bool, typer.Option(help="The whole path in seconds; the table means nothing.")
]


def modes(  # noqa: PLR0917  (options are what a person may give)
    config: Annotated[Path, typer.Argument(help="As training/configs/modes.toml.")] = Path(
        "training/configs/modes.toml"
    ),
    methods: Annotated[
        str, typer.Option(help="Those of the file that are wanted, as gan,packing-2; all, if none.")
    ] = "",
    finished: Annotated[bool, typer.Option(help="Report what is finished; train nothing.")] = False,
    set_: SetOption = None,
    quick: QuickOption = False,
    fresh: FreshOption = False,
    out: OutOption = None,
    runs: RunsOption = Path("runs"),
    threads: ThreadsOption = None,
) -> None:
    """Ring of 8 and grid of 25 modes: a GAN, and what each remedy against collapse changes.

    Finished trials are kept, and an interrupted one goes on; the same command goes on after them.

    Examples:
      reverie benchmark modes
      reverie benchmark modes --set trials=3 --set 'sets=["grid"]'
    """
    words = _words("modes", [str(config)], set_, quick=quick, runs=runs)
    words += (["--methods", methods] if methods else []) + (["--finished"] if finished else [])
    with told_in_one_line(again=shlex.join(words)), stop_on_signals() as stop:
        use_threads(threads)
        checked = load_modes_config(config, set_ or [], smoke=quick)
        checked = checked.only(methods.replace(",", " ").split())
        work = _work(runs, checked.name, quick=quick, fresh=fresh, stop=stop)
        results = run_modes(checked, work=work, only_finished=finished)
    grids, command = modes_grids(results), shlex.join(words)
    publish_results(results, grids, folder=work.folder, out=out, name="modes", command=command)


def stacked(  # noqa: PLR0917
    config: Annotated[Path, typer.Argument(help="As training/configs/stacked-mnist.toml.")] = Path(
        "training/configs/stacked-mnist.toml"
    ),
    set_: SetOption = None,
    quick: QuickOption = False,
    fresh: FreshOption = False,
    out: OutOption = None,
    runs: RunsOption = Path("runs"),
    threads: ThreadsOption = None,
) -> None:
    """Stacked digits: how many of 1,000 modes a GAN makes, against the images it has seen.

    An interrupted training goes on with the same command.

    Examples:
      reverie benchmark stacked
      reverie benchmark stacked --quick
    """
    words = _words("stacked", [str(config)], set_, quick=quick, runs=runs)
    with told_in_one_line(again=shlex.join(words)), stop_on_signals() as stop:
        use_threads(threads)
        checked = load_stacked_config(config, set_ or [], smoke=quick)
        work = _work(runs, checked.name, quick=quick, fresh=fresh, stop=stop)
        results = run_stacked(checked, work=work)
    grids, command = [stacked_grid(results)], shlex.join(words)
    publish_results(results, grids, folder=work.folder, out=out, name="stacked", command=command)


def tstr(  # noqa: PLR0917
    model: Annotated[str, typer.Argument(help="NAME, NAME@VERSION, or a package's folder.")],
    samples: Annotated[
        int, typer.Option(min=128, help="As many as real ones beside them.")
    ] = 30_000,
    few: Annotated[int, typer.Option(min=128, help="Real images that are few.")] = 1000,
    images_seen: Annotated[
        int, typer.Option(min=128, help="By a classifier, over its epochs.")
    ] = 180_000,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Repetitions of each arm.")] = 3,
    data: Annotated[str, typer.Option(help="A data set that the project knows.")] = "mnist",
    fresh: FreshOption = False,
    out: OutOption = None,
    store: StoreOption = Path("models_store"),
    runs: RunsOption = Path("runs"),
    threads: ThreadsOption = None,
) -> None:
    """Train classifiers on a model's labelled samples, and test them on real images.

    Beside samples alone: as many real images, a few real ones, and these with the samples, for
    equally many images seen. Finished classifiers are kept; the same command goes on after them.

    Examples:
      reverie benchmark tstr mnist-cgan
      reverie benchmark tstr mnist-dcgan --samples 2000 --images-seen 8000 --seeds 1
    """
    protocol = Protocol(
        samples=samples, few=few, images_seen=images_seen, seeds=tuple(range(seeds))
    )
    words = _words("tstr", [model], None, quick=False, runs=runs)
    words += ["--samples", str(samples), "--few", str(few)]
    words += ["--images-seen", str(images_seen), "--seeds", str(seeds), "--data", data]
    with told_in_one_line(again=shlex.join(words)), stop_on_signals() as stop:
        use_threads(threads)
        package = Package(find_package(model, store))
        name = f"tstr-{package.manifest.name}"
        work = _work(runs, name, quick=False, fresh=fresh, stop=stop)
        results = run_arms(
            package, train=load(data), test=load(data, "test"), protocol=protocol, work=work
        )
    grids, command = [tstr_grid(results)], shlex.join(words)
    publish_results(results, grids, folder=work.folder, out=out, name=name, command=command)


def _words(
    name: str, targets: Sequence[str], overrides: Sequence[str] | None, *, quick: bool, runs: Path
) -> list[str]:
    """What a person types to do this again."""
    words = ["reverie", "benchmark", name, *targets]
    words += [word for override in overrides or [] for word in ("--set", override)]
    words += ["--quick"] if quick else []
    return words + ([] if runs == Path("runs") else ["--runs", str(runs)])


def _work(runs: Path, name: str, *, quick: bool, fresh: bool, stop: Callable[[], bool]) -> Work:
    """The folder of the benchmark, emptied if asked, and how it is watched."""
    folder = runs / (name + ("-quick" if quick else ""))
    if fresh:
        Run.erase(folder)
    return Work(folder=folder, stop=stop, on_done=say_done)
