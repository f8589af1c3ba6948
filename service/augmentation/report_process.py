"""Makes one order's report: `python -m … WHERE STORE [REMEMBERED]`, for `Reporter` to start.

order.json, receipts ──► a few of its files ──► rows ──► Report ──► report.html, report.json
standard output: what the manifest says of it
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from service.augmentation.destination import Destination, open_destination
from service.augmentation.folder import ORDER_FILE, OrderFolder, Receipt, read_order
from service.augmentation.holds import Held
from service.augmentation.order import Order
from service.augmentation.reporting import missing
from service.contract import Manifest, PackageError, TableData, read_package
from service.errors import ServiceError
from service.reports.comparing import find_directory
from service.reports.figures import Report
from service.reports.image_report import image_report
from service.reports.judging import Judge, open_judge
from service.reports.reading import Part, read_parts
from service.reports.reference import R, read_reference, read_table_reference
from service.reports.remembered import Recall, Remembered, afresh
from service.reports.rows import ROWS, Images, Real, Table
from service.reports.table_report import table_report
from service.reports.words import About
from service.reports.writing import files_of

NICENESS = 10
MOST_FILES = 16  # of an order, evenly spread: each of them has about the order's proportions


def main(where: str, store: str, remembered: str | None = None) -> None:
    """Make the report, and tell of it; `remembered` is a folder of what earlier ones have found."""
    _step_back()
    destination = open_destination(where)
    content = destination.read(ORDER_FILE)
    assert content is not None, "an order's folder begins with order.json"
    order = read_order(content)
    try:
        memory = None if remembered is None else Path(remembered)
        told = make_report(order, destination, Path(store), memory)
    except (ServiceError, PackageError, Held) as error:
        told = missing(str(error))
    sys.stdout.write(json.dumps(told))


def _step_back() -> None:
    """Be behind everything else for a processor, and the first to go when memory runs out."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")


def make_report(
    order: Order, destination: Destination, store: Path, remembered: Path | None = None
) -> dict[str, Any]:
    """Write both files, and say what the manifest is to say of them.

    Raises:
        ServiceError: the order's files, or what it is compared with, cannot be used.
        PackageError: a package is damaged.
    """
    report = report_of(order, OrderFolder(order, destination), store, remembered)
    entries = []
    for name, content in files_of(report).items():
        destination.write(name, content)
        digest = hashlib.sha256(content).hexdigest()
        entries.append({"name": name, "bytes": len(content), "sha256": digest})
    return {"state": "made", "files": entries, **report.summary()}


def report_of(
    order: Order, folder: OrderFolder, store: Path, remembered: Path | None = None
) -> Report:
    """The report of an order whose files are there.

    Args:
        order: what was ordered.
        folder: where its files are.
        store: where the models are.
        remembered: a folder of what earlier reports have found of the same real rows.

    Raises:
        ServiceError: the order's files, or what it is compared with, cannot be used.
        PackageError: a package is damaged.
    """
    assert order.report is not None, "a report was ordered"
    directory = find_directory(order.model, store)
    manifest = read_package(directory)
    reference = manifest.reference
    if (None if reference is None else reference.sha256) != order.report.reference:
        raise PackageError(f"{order.model} has another reference than when it was ordered")
    chunks = np.unique(np.linspace(0, order.chunks - 1, MOST_FILES).round().astype(int))
    receipts = folder.receipts_of(chunks.tolist())
    parts = [_part(receipt, folder.destination) for receipt in receipts]
    rows = read_parts(parts, limit=ROWS, seed=order.seed).rows
    about = About(
        title=f"{order.n:,} rows of {order.model}",
        synthetic="the order",
        rows=order.n,
        seed=order.seed,
        model=order.model,
        digest=order.digest,
    )
    memory = _memory(order, remembered)
    if isinstance(rows, Images):
        images = _recalling(read_reference(directory, manifest), memory)
        report = image_report(rows, images, _judge(order, store), about)
    else:
        real = _recalling(read_table_reference(directory, manifest), memory)
        report = _table_report(rows, real, manifest, about)
    if isinstance(memory, Remembered):
        memory.keep()
    return report


def _table_report(
    rows: Table, real: Real[Table] | None, manifest: Manifest, about: About
) -> Report:
    """The report of rows of a table, whose label column is what classifiers are to tell."""
    if real is None:
        raise ServiceError(
            "the model's package has no reference to compare with: reverie report compares the "
            "order with real rows"
        )
    assert isinstance(manifest.data, TableData)
    return table_report(rows, real, about, target=manifest.data.label_column)


def _memory(order: Order, folder: Path | None) -> Recall:
    assert order.report is not None
    if folder is None:
        return afresh
    return Remembered(folder, reference=order.report.reference, judge=order.report.judge_digest)


def _recalling(real: Real[R] | None, memory: Recall) -> Real[R] | None:
    return None if real is None else replace(real, recall=memory)


def _judge(order: Order, store: Path) -> Judge | None:
    """The judge that the order has pinned.

    Raises:
        PackageError: it is another one now.
    """
    assert order.report is not None
    if order.report.judge is None:
        return None
    directory = find_directory(order.report.judge, store)
    manifest = read_package(directory)
    if manifest.digest != order.report.judge_digest:
        raise PackageError(f"{manifest.id} is not the judge that was ordered: its digest differs")
    return open_judge(directory, manifest)


def _part(receipt: Receipt, destination: Destination) -> Part:
    return Part(receipt.name, _content(destination, receipt.name), receipt.rows)


def _content(destination: Destination, name: str) -> Callable[[], bytes]:
    def content() -> bytes:
        found = destination.read(name)
        if found is None:
            raise ServiceError(f"{name} is not there any more")
        return found

    return content


if __name__ == "__main__":
    main(*sys.argv[1:])
