"""How like real rows are ours, beside CTGAN's? `make bench BENCH=tables`

The published models of tables, and CTGAN (pip's `ctgan`, in an environment of its own: its licence,
BUSL, lets it be measured and not be used), which learns from the same training rows. Both make as
many rows as there are test rows; the floor puts training rows in their place. Column shapes and
pair trends are SDMetrics' definitions, checked with `--sdmetrics` against that package itself.

CTGAN has its own defaults but for the epochs, where `--epochs` says so; seconds are of its training
on this machine. Its numbers have no missing values, so that they go as CTGAN's users send them: the
median, and a column that says where they were missing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.harness import report
from benchmarks.peers.environments import install
from benchmarks.peers.table import Peer, at
from service.contract import TableData
from service.domain.rows import Cells
from training.config import validate
from training.package import Package
from training.tabular.config import TabularConfig
from training.tabular.figures import sample_cells
from training.tabular.likeness import likeness
from training.tabular.table import Splits, Table, TableConfig, load_splits, load_table
from training.tabular.transform import cells_of, table_of
from training.tabular.usefulness import detection_auc, usefulness

HERE = Path(__file__).parent
STORE = HERE.parent / "models_store"
MODELS = ("diamonds-gan", "credit-gan")
SEED = 1
CTGAN = Peer(
    name="CTGAN",
    environment="ctgan",
    requirements=("ctgan==0.12.1", "torch==2.13.0", "pyarrow==26.0.1"),
    about="its defaults but for the epochs, one thread",
    command=("ctgan_rows.py",),
    ask=at("/"),
)
SDMETRICS = Peer(
    name="SDMetrics",
    environment="sdmetrics",
    requirements=("sdmetrics==0.32.0", "pyarrow==26.0.1"),
    about="QualityReport on one table",
    command=("sdmetrics_scores.py",),
    ask=at("/"),
)


@dataclass(frozen=True)
class Case:
    """One model, its table, and what it is compared on."""

    package: Package
    config: TabularConfig
    data: TableData
    splits: Splits


def case_of(name: str) -> Case:
    """The newest package of a name in the store, with the rows that it was and was not shown."""
    versions = sorted((STORE / name).iterdir(), key=lambda folder: int(folder.name))
    package = Package(versions[-1])
    _, config = validate(package.manifest.provenance["recipe"], where=name)
    assert isinstance(config, TabularConfig)
    data = package.manifest.data
    assert isinstance(data, TableData)
    return Case(package, config, data, load_splits(config.data, seed=config.seed))


def made_by_ctgan(case: Case, *, rows: int, epochs: int) -> tuple[Cells, float]:
    """(its rows as our cells, seconds of training)."""
    with tempfile.TemporaryDirectory(prefix="reverie-") as folder:
        seen, made = Path(folder) / "seen.parquet", Path(folder) / "made.parquet"
        pq.write_table(arrow_of(case.splits.train), seen)
        told = _run(CTGAN, str(seen), str(made), str(rows), str(epochs), str(SEED))
        config = TableConfig(path=made, categorical=words_of(case.splits.train))
        table = load_table(config)
        return cells_of(table, case.data), float(json.loads(told)["seconds"])


def scores(case: Case, made: Cells, *, trees: int) -> dict[str, object]:
    """What a set of rows is worth."""
    test, train = cells_of(case.splits.test, case.data), cells_of(case.splits.train, case.data)
    found = likeness(case.data, real=test, made=made)
    seen = {row.tobytes() for row in train}
    row: dict[str, object] = {
        "shapes": found.column_shapes,
        "trends": found.pair_trends,
        "detection": detection_auc(case.data, real=test, made=made, trees=trees, seed=SEED),
        "copies": float(np.mean([line.tobytes() in seen for line in made])),
    }
    for target in case.config.evaluate.utility:
        row[target] = usefulness(
            case.data, target=target, train=made, test=test, trees=trees, seed=SEED
        )
    return row


def compare(name: str, *, epochs: int, trees: int, check: bool) -> list[dict[str, object]]:
    """One table's lines: ours, CTGAN's, and the floor."""
    case = case_of(name)
    n = len(case.splits.test)
    train = cells_of(case.splits.train, case.data)
    floor = np.random.default_rng(SEED).permutation(train)[:n]
    theirs, seconds = made_by_ctgan(case, rows=n, epochs=epochs)
    ours = sample_cells(case.package, n=n, seed=SEED)
    facts = case.package.manifest.provenance
    seen = f"{facts['steps'] * case.config.train.batch / len(train):.0f} epochs"
    lines = {
        f"{name}, {seen}": (ours, float(facts["training_seconds"])),
        f"CTGAN, {epochs} epochs": (theirs, seconds),
        "training rows": (floor, None),
    }
    rows: list[dict[str, object]] = []
    for label, (made, spent) in lines.items():
        told = scores(case, made, trees=trees)
        if check:
            told |= sdmetrics_scores(case, made)
        rows.append({"case": label, **told, "seconds": "" if spent is None else round(spent)})
    return rows


def sdmetrics_scores(case: Case, made: Cells) -> dict[str, object]:
    """Column shapes and pair trends by the SDMetrics package itself."""
    with tempfile.TemporaryDirectory(prefix="reverie-") as folder:
        paths = [Path(folder) / f"{name}.parquet" for name in ("real", "made")]
        for path, table in zip(paths, (case.splits.test, table_of(made, case.data)), strict=True):
            pq.write_table(arrow_of(table), path)
        told = json.loads(_run(SDMETRICS, *map(str, paths)))
    return {"shapes (SDMetrics)": told["shapes"], "trends (SDMetrics)": told["trends"]}


def arrow_of(table: Table) -> pa.Table:
    """A table as Arrow has it: float64 and strings, with nulls."""
    return pa.table(
        {
            name: pa.array(values.tolist(), pa.string())
            if values.dtype == object
            else pa.array(values, from_pandas=True)
            for name, values in table.columns.items()
        }
    )


def words_of(table: Table) -> tuple[str, ...]:
    """The names of its columns of words."""
    return tuple(name for name, values in table.columns.items() if values.dtype == object)


def _run(peer: Peer, *arguments: str) -> str:
    """The last line that a peer's program prints."""
    install(peer)
    script = HERE / "peers" / peer.command[0]
    command = [str(peer.bin() / "python"), str(script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{peer.name} failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout.strip().splitlines()[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--epochs", type=int, default=300, help="CTGAN's default is 300")
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--sdmetrics", action="store_true", help="check our scores against theirs")
    asked = parser.parse_args()
    for name in asked.models:
        rows = compare(name, epochs=asked.epochs, trees=asked.trees, check=asked.sdmetrics)
        report("tables", f"Rows like those of {name}, against its test rows", rows)


if __name__ == "__main__":
    main()
