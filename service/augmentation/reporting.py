"""The quality report of an order: pinned when it is taken in, made in a process of its own.

model's manifest ──pinned──► Reporting (judge, reference), part of the order
all files there ──Reporter──► a process of low priority ──► report.html, report.json ──► manifest

A report that cannot be made never fails an order: the manifest says why it is missing.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from service.augmentation.folder import OrderFolder
from service.augmentation.order import Reporting
from service.contract import ImageData, Manifest, PackageError
from service.errors import UnknownModel
from service.reports.comparing import manifest_of
from service.reports.judging import can_judge

log = structlog.get_logger(__name__)

MODULE = "service.augmentation.report_process"
TIMEOUT_S = 900.0
REMEMBERED = "reports"  # a folder of REVERIE_DATA_DIR
# One thread: the same sums in the same order on every machine, and no core taken from requests.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def pinned(manifest: Manifest, store: Path) -> Reporting:
    """What an order's report will be made with: the newest judge that the reference names."""
    reference = manifest.reference
    judge = None
    if reference is not None and reference.judge is not None:
        with suppress(UnknownModel, PackageError):
            found = manifest_of(reference.judge, store)[1]
            if isinstance(manifest.data, ImageData) and can_judge(found, manifest.data.shape):
                judge = found
    return Reporting(
        reference=None if reference is None else reference.sha256,
        judge=None if judge is None else judge.id,
        judge_digest=None if judge is None else judge.digest,
    )


class Reporter:
    """Makes the report of one order; calls of several orders take turns."""

    def __init__(
        self,
        folder: OrderFolder,
        store: Path,
        *,
        remembered: Path | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """`remembered` is a folder for what one report finds that the next can use."""
        self._folder = folder
        self._store = store
        self._remembered = remembered
        self._timeout_s = timeout_s

    async def __call__(self) -> dict[str, Any] | None:
        """What the manifest says of the report; None if none was ordered."""
        if self._folder.order.report is None:
            return None
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._made()
        except TimeoutError:
            return missing(f"it was not done after {self._timeout_s:g} seconds")
        except (OSError, ValueError) as error:
            log.warning("report_failed", model=self._folder.order.model, exc_info=error)
            return missing("the service failed to make it; its log has the cause")

    async def _made(self) -> dict[str, Any]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            MODULE,
            self._folder.destination.shown,
            str(self._store),
            *([] if self._remembered is None else [str(self._remembered)]),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(),
        )
        try:
            told, complaints = await process.communicate()
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode != 0:
            log.warning(
                "report_failed",
                model=self._folder.order.model,
                status=process.returncode,
                complaints=complaints.decode(errors="replace")[-2000:],
            )
            return missing("the service failed to make it; its log has the cause")
        found: dict[str, Any] = json.loads(told)
        return found


def missing(reason: str) -> dict[str, Any]:
    """What the manifest says of a report that is not there."""
    return {"state": "missing", "reason": reason, "files": []}


def _environment() -> Mapping[str, str]:
    return os.environ | ENVIRONMENT
