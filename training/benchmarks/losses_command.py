"""`reverie benchmark losses`: every loss of a GAN, on the same network and the same images.

losses.toml ──► a training for each loss and seed ──► one table, docs/results/losses.json
"""

# Annotations are read at run time, by typer: no `from __future__ import annotations` here.
import shlex
from pathlib import Path
from typing import Annotated

import typer

from training.benchmarks.inpainting import Work
from training.benchmarks.losses import losses_grid, run_losses
from training.benchmarks.losses_config import load_losses_config
from training.benchmarks.publishing import (
    FreshOption,
    OutOption,
    publish_results,
    say_done,
    use_threads,
)
from training.cli import RunsOption, ThreadsOption, told_in_one_line
from training.run import Run, stop_on_signals


def losses(  # noqa: PLR0917  (options are what a person may give)
    config: Annotated[Path, typer.Argument(help="As training/configs/losses.toml.")] = Path(
        "training/configs/losses.toml"
    ),
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a key, as images=128000.")
    ] = None,
    quick: Annotated[
        bool, typer.Option(help="The whole path in a minute; the table means nothing.")
    ] = False,
    fresh: FreshOption = False,
    out: OutOption = None,
    runs: RunsOption = Path("runs"),
    threads: ThreadsOption = None,
) -> None:
    """Every loss that a GAN can be trained by, beside every other.

    Finished trainings are kept, and an interrupted one goes on; the same command goes on after
    them.

    Examples:
      reverie benchmark losses --out docs/results
      reverie benchmark losses --set seeds=1 --set images=32000
    """
    words = ["reverie", "benchmark", "losses", str(config)]
    words += [word for override in set_ or [] for word in ("--set", override)]
    words += ["--quick"] if quick else []
    words += [] if runs == Path("runs") else ["--runs", str(runs)]
    command = shlex.join(words)
    with told_in_one_line(again=command), stop_on_signals() as stop:
        use_threads(threads)
        checked = load_losses_config(config, set_ or [], smoke=quick)
        folder = runs / (checked.name + ("-quick" if quick else ""))
        if fresh:
            Run.erase(folder)
        results = run_losses(checked, work=Work(folder=folder, stop=stop, on_done=say_done))
    grids = [losses_grid(results)]
    publish_results(results, grids, folder=folder, out=out, name="losses", command=command)
