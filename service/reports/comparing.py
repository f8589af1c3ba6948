"""What `reverie report` does: read both sides, open the judge, and make the report.

Asked ──read──► synthetic, Real ──► image_report | table_report ──► Report
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from service.contract import Manifest, read_manifest, read_package
from service.errors import InvalidInput, UnknownModel
from service.reports.figures import Report
from service.reports.image_report import image_report
from service.reports.judging import Judge, open_judge
from service.reports.reading import Taken, read_path
from service.reports.rows import Images, Real, Table, split, split_beside
from service.reports.table_report import table_report
from service.reports.words import About

MOST_SEARCHED = 100_000  # real rows that copies are looked for in
STEPS = 4  # two reads, the judge, the comparison


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be compared with what; the fields are the command's options."""

    synthetic: Path
    real: Path
    held_out: Path | None = None
    judge: str | None = None
    target: str | None = None
    label_column: str = "label"
    rows: int = 2000
    seed: int = 0
    store: Path = Path("models_store")


def compared(asked: Asked, *, console: Console) -> Report:
    """The report, with a bar for whoever waits.

    Raises:
        InvalidInput: the data cannot be read, or do not go together.
        UnknownModel: there is no such judge.
        PackageError: the judge's package is damaged.
    """
    with _bar(console) as bar:
        task = bar.add_task("reading the synthetic rows", total=STEPS)

        def step(words: str) -> None:
            bar.update(task, description=words, advance=1)

        synthetic = _read(asked, asked.synthetic, limit=asked.rows)
        step("reading the real rows")
        real = _read(asked, asked.real, limit=MOST_SEARCHED)
        other = (
            None if asked.held_out is None else _read(asked, asked.held_out, limit=MOST_SEARCHED)
        )
        step("opening the judge" if asked.judge else "comparing")
        judge = None if asked.judge is None else find_judge(asked.judge, asked.store)
        if asked.judge:
            bar.update(task, description="comparing")
        made = _made(asked, synthetic, real, other, judge)
        bar.update(task, description="done", completed=STEPS)
    return made


def _made(
    asked: Asked, synthetic: Taken, real: Taken, other: Taken | None, judge: Judge | None
) -> Report:
    about = About(
        title=f"{asked.synthetic.name} beside {asked.real.name}",
        synthetic=asked.synthetic.name,
        rows=synthetic.total,
        seed=asked.seed,
    )
    ours = synthetic.rows
    match ours, real.rows, None if other is None else other.rows:
        case Images(), Images() as theirs, (Images() | None) as unseen:
            return _of_images(asked, ours, theirs, unseen=unseen, judge=judge, about=about)
        case Table(), Table() as theirs, (Table() | None) as unseen:
            parts = _parts_of_tables(asked, theirs, unseen)
            return table_report(ours, parts, about, target=asked.target)
    raise InvalidInput("one side holds images and another a table: compare like with like")


def _of_images(
    asked: Asked,
    ours: Images,
    theirs: Images,
    *,
    unseen: Images | None,
    judge: Judge | None,
    about: About,
) -> Report:
    for images in (theirs, theirs if unseen is None else unseen):
        if images.shape != ours.shape:
            raise InvalidInput(
                f"the synthetic images are {list(ours.shape)}, and real ones {list(images.shape)}: "
                "scale one side"
            )
    parts: Real[Images] = (
        split(theirs, limit=asked.rows, seed=asked.seed, source=asked.real.name)
        if unseen is None
        else split_beside(theirs, unseen, limit=asked.rows, seed=asked.seed, source=_source(asked))
    )
    return image_report(ours, parts, judge, about)


def _parts_of_tables(asked: Asked, theirs: Table, unseen: Table | None) -> Real[Table]:
    if unseen is None:
        return split(theirs, limit=asked.rows, seed=asked.seed, source=asked.real.name)
    return split_beside(theirs, unseen, limit=asked.rows, seed=asked.seed, source=_source(asked))


def _source(asked: Asked) -> str:
    assert asked.held_out is not None
    return f"{asked.real.name}; unseen: {asked.held_out.name}"


def _read(asked: Asked, path: Path, *, limit: int) -> Taken:
    return read_path(path, limit=limit, seed=asked.seed, label=asked.label_column)


def find_judge(reference: str, store: Path) -> Judge:
    """A judge of the store, NAME or NAME@VERSION.

    Raises:
        UnknownModel: it is not there.
        InvalidInput: it is no judge.
        PackageError: its package is damaged.
    """
    directory = find_directory(reference, store)
    return open_judge(directory, read_package(directory))


def find_directory(reference: str, store: Path) -> Path:
    """The folder of NAME (its newest version) or NAME@VERSION in a store.

    Raises:
        UnknownModel: it is not there.
    """
    name, _, version = reference.partition("@")
    found = [p for p in store.glob(f"{name}/*") if p.name.isdecimal() and version in {"", p.name}]
    if not found:
        there = ", ".join(sorted(p.name for p in store.glob("*"))) or "nothing"
        raise UnknownModel(f"no model {reference!r} in the store: it has {there}")
    return max(found, key=lambda p: int(p.name))


def manifest_of(reference: str, store: Path) -> tuple[Path, Manifest]:
    """A package's folder and manifest, its files not yet verified.

    Raises:
        UnknownModel: it is not there.
        PackageError: its manifest cannot be read.
    """
    directory = find_directory(reference, store)
    return directory, read_manifest(directory)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console
    )
