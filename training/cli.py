"""The offline commands: `reverie train`, `reverie export`, `reverie evaluate`.

recipe.toml ──► train ──► runs/<name>/ (checkpoints, sheets) ──► models_store/<name>/<version>/
runs/<name>/ ──► export ──► the same package again        package ──► evaluate ──► its figures again

`service/cli.py` adds these functions to the `reverie` command through the entry points
`reverie.commands`, so that serving needs nothing of training.
"""

# Annotations are read at run time, by typer: no `from __future__ import annotations` here.
import json
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.markup import escape

from service.contract import MANIFEST_FILE, PackageError, read_manifest
from training.card import quality_table
from training.config import BareRecipe, ConfigError, Recipe, Workspace, load_config, validate
from training.data_files import DataError
from training.reference import give_reference, referenced
from training.run import Interrupted, Run, RunConflict, TrainingDiverged

RECIPE_FILE = "recipe.json"
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130

StoreOption = Annotated[
    Path, typer.Option(help="The folder of published packages.", envvar="REVERIE_MODELS_STORE")
]
RunsOption = Annotated[Path, typer.Option(help="The folder of training runs.")]
DeviceOption = Annotated[
    str, typer.Option(help="auto, cpu or cuda; auto takes CUDA where it answers.")
]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, help="CPU threads; left out, one for each core.")
]
ReferenceOption = Annotated[
    bool,
    typer.Option(
        "--reference",
        help="Only give a published model the real images that reports compare its orders with.",
    ),
]


def train(  # noqa: PLR0917  (options are what a person may give)
    config: Annotated[Path, typer.Argument(help="A recipe, as training/configs/mnist-rbm.toml.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a key of the recipe, as train.learning_rate=0.02."),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the newest checkpoint.")] = False,
    fresh: Annotated[bool, typer.Option(help="Erase the run that is there, and begin.")] = False,
    smoke: Annotated[
        bool,
        typer.Option(help="Walk the whole path in under a minute, into runs/<name>-smoke/store."),
    ] = False,
    store: Annotated[
        Path | None, typer.Option(help="Where to publish; models_store if left out.")
    ] = None,
    runs: RunsOption = Path("runs"),
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Train a model from a recipe, evaluate it, and publish it as a package.

    Checkpoints, TensorBoard logs and sample sheets are written to runs/NAME.
    Ctrl-C writes a checkpoint first; --resume goes on exactly from there.
    At the end: export, parity check, evaluation on test data, model card.

    Examples:
      reverie train training/configs/mnist-rbm.toml
      reverie train training/configs/mnist-rbm.toml --smoke
      reverie train training/configs/mnist-rbm.toml --set model.hidden=250
    """
    command = _command_line(config, set_ or [], smoke=smoke)
    places = _places(store=store, runs=runs)
    with told_in_one_line(again=shlex.join([*command, *places, "--resume"])):
        if resume and fresh:
            raise ConfigError("--resume and --fresh exclude each other")
        recipe, checked = load_config(config, set_ or [], smoke=smoke)
        workspace = _workspace(
            checked,
            runs=runs,
            store=store,
            device=device,
            resume=resume,
            smoke=smoke,
            command=shlex.join(command),
        )
        if threads is not None:
            torch.set_num_threads(threads)
        if fresh or (smoke and not resume):
            Run.erase(workspace.run)
        _remember(checked, workspace)
        made = recipe.train(checked, workspace)
        made = give_reference(made, recipe, checked)
    _say_where(made)


def export(  # noqa: PLR0917  (as above)
    target: Annotated[
        Path,
        typer.Argument(help="A run's folder, the recipe of the run, or with --reference NAME."),
    ],
    store: Annotated[
        Path | None, typer.Option(help="Where to publish; models_store if left out.")
    ] = None,
    runs: RunsOption = Path("runs"),
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    reference: ReferenceOption = False,
) -> None:
    """Export, evaluate and publish again, from a run's newest checkpoint.

    Works while the training still goes on: what is exported is the checkpoint.

    Examples:
      reverie export runs/mnist-rbm
      reverie export training/configs/mnist-rbm.toml --store /tmp/store
      reverie export mnist-rbm --reference
    """
    with told_in_one_line():
        if threads is not None:
            torch.set_num_threads(threads)
        if reference:
            made = referenced(find_package(str(target), store or Path("models_store")))
        else:
            recipe, config, workspace = _recorded(target, runs=runs, store=store, device=device)
            made = recipe.export(config, workspace)
            made = give_reference(made, recipe, config)
    _say_where(made)


def evaluate(
    model: Annotated[str, typer.Argument(help="NAME, NAME@VERSION, or a package's folder.")],
    store: StoreOption = Path("models_store"),
    quick: Annotated[
        bool, typer.Option(help="A rough answer in a minute; the card's figures take longer.")
    ] = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Recompute a package's quality figures from its own files, and print them.

    Examples:
      reverie evaluate mnist-rbm --quick
      reverie evaluate mnist-rbm@1 --store models_store
    """
    with told_in_one_line():
        if threads is not None:
            torch.set_num_threads(threads)
        package = find_package(model, store)
        manifest = read_manifest(package)
        recorded = manifest.provenance.get("recipe")
        if not isinstance(recorded, dict):
            raise ConfigError(
                f"{manifest.id} names no recipe in its provenance: it was not trained here, so "
                "there is no protocol to evaluate it by"
            )
        recipe, config = validate(recorded, where=manifest.id)
        figures = recipe.evaluate(package, config, quick, _device(device))
    console = Console(highlight=False)
    console.print(quality_table(manifest.id, figures))
    for figure in figures:
        console.print(f"[bold]{figure.name}[/bold]: {escape(figure.protocol)}")


@contextmanager
def told_in_one_line(again: str = "") -> Iterator[None]:
    """What a person can mend is told in one line, with exit code 2, and never as a traceback."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        yield
    except Interrupted as stopped:
        console.print(f"{stopped}. Go on with: {again}", markup=False)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except TrainingDiverged as error:
        console.print(f"error: {error}", markup=False)
        raise typer.Exit(1) from None
    except (ConfigError, DataError, PackageError, RunConflict) as error:
        console.print(f"error: {error}", markup=False)
        raise typer.Exit(EXIT_BAD_INPUT) from None


def _command_line(config: Path, overrides: Sequence[str], *, smoke: bool) -> list[str]:
    """What a person types to get the same model again."""
    words = ["reverie", "train", str(config)]
    words += [word for override in overrides for word in ("--set", override)]
    return words + (["--smoke"] if smoke else [])


def _places(*, store: Path | None, runs: Path) -> list[str]:
    """The options that say where, as far as they were given."""
    words = [] if store is None else ["--store", str(store)]
    return words + ([] if runs == Path("runs") else ["--runs", str(runs)])


def _workspace(
    config: BareRecipe,
    *,
    runs: Path,
    store: Path | None,
    device: str,
    resume: bool,
    smoke: bool,
    command: str,
) -> Workspace:
    run = runs / (f"{config.name}-smoke" if smoke else config.name)
    return Workspace(
        run=run,
        store=store or (run / "store" if smoke else Path("models_store")),
        device=_device(device),
        resume=resume,
        smoke=smoke,
        command=command,
    )


def _device(name: str) -> str:
    if name not in {"auto", "cpu", "cuda"}:
        raise ConfigError(f"--device {name!r} is not auto, cpu or cuda")
    answers = torch.cuda.is_available()
    if name == "cuda" and not answers:
        raise ConfigError("--device cuda: no CUDA device answers; use --device cpu")
    return "cuda" if answers and name != "cpu" else "cpu"


def _remember(config: BareRecipe, workspace: Workspace) -> None:
    """Keep the whole recipe with the run, so that `reverie export RUN` needs nothing else."""
    workspace.run.mkdir(parents=True, exist_ok=True)
    kept = {
        "recipe": config.model_dump(mode="json"),
        "smoke": workspace.smoke,
        "command": workspace.command,
    }
    temporary = workspace.run / f".{RECIPE_FILE}.{os.getpid()}"
    temporary.write_text(json.dumps(kept, indent=2) + "\n", "utf-8")
    temporary.rename(workspace.run / RECIPE_FILE)


def _recorded(
    target: Path, *, runs: Path, store: Path | None, device: str
) -> tuple[Recipe, BareRecipe, Workspace]:
    """The recipe of a run, and where to work; `target` is its folder or its recipe's file."""
    if not target.is_dir() and not load_config(target)[0].needs_run:
        recipe, config = load_config(target)
        command = shlex.join(["reverie", "export", str(target)])
        workspace = _workspace(
            config, runs=runs, store=store, device=device, resume=True, smoke=False, command=command
        )
        return recipe, config, workspace
    run = target if target.is_dir() else runs / load_config(target)[1].name
    try:
        kept: dict[str, Any] = json.loads((run / RECIPE_FILE).read_text("utf-8"))
        document, smoke, command = kept["recipe"], bool(kept["smoke"]), str(kept["command"])
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{run} is not a training run: it has no {RECIPE_FILE}") from error
    recipe, config = validate(document, where=str(run / RECIPE_FILE))
    if not target.is_dir():
        # Evaluation and export may have been edited since; what was trained is in the checkpoint.
        config = load_config(target)[1]
    workspace = Workspace(
        run=run,
        store=store or (run / "store" if smoke else Path("models_store")),
        device=_device(device),
        resume=True,
        smoke=smoke,
        command=command,
    )
    return recipe, config, workspace


def find_package(model: str, store: Path) -> Path:
    """The folder of NAME (its newest version), NAME@VERSION, or of a path."""
    if (Path(model) / MANIFEST_FILE).is_file():
        return Path(model)
    name, _, version = model.partition("@")
    folders = store / name
    found = [p for p in folders.iterdir() if p.name.isdigit()] if folders.is_dir() else []
    if version:
        found = [p for p in found if p.name == version]
    if not found:
        there = ", ".join(sorted(p.name for p in store.iterdir())) if store.is_dir() else "nothing"
        raise ConfigError(f"model {model!r} is not in {store}: it has {there}")
    return max(found, key=lambda p: int(p.name))


def _say_where(made: Path) -> None:
    Console().print(f"published: {made}", markup=False, soft_wrap=True)
