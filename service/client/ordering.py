"""Augmentation orders as requests, and what the server says of one.

augment, order, orders, cancel, manifest ──► Request[OrderStatus], …
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Literal, Unpack

from service.client.errors import OrderFailed
from service.client.wire import Options, Reply, Request, document_of, request, segment

Format = Literal["parquet", "arrow", "npz", "csv", "webdataset", "imagefolder"]
ENDED = frozenset({"done", "failed", "cancelled"})
PATH = "/v1/augmentations"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class OrderFile:
    """One file of an order: its name, size, digest (64 hex digits) and rows."""

    name: str
    size_bytes: int
    sha256: str
    rows: int | None


@dataclass(frozen=True)
class Progress:
    """How far an order is; rate and remaining time are None until they are known."""

    rows_done: int
    rows_total: int
    rows_per_second: float | None = None
    eta_s: float | None = None


@dataclass(frozen=True)
class OrderStatus:
    """What the server said of an order when it was last asked.

    Attributes:
        state: `queued`, `running`, `on_hold`, `done`, `failed` or `cancelled`.
        seed: what to order with to get the same files.
        requested, delivered: rows by label.
        files: those that are ready.
        error: why it failed or is on hold, in a sentence; None otherwise.
        document: all that the server says, as it says it.
    """

    id: str
    state: str
    progress: Progress
    seed: int | None
    requested: Mapping[str, int]
    delivered: Mapping[str, int]
    files: tuple[OrderFile, ...]
    error: str | None
    document: Mapping[str, Any]

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED

    def check(self) -> None:
        """Raise unless the order is done or may still be.

        Raises:
            OrderFailed: it failed, or was cancelled.
        """
        if self.state in {"failed", "cancelled"}:
            raise OrderFailed(
                f"order {self.id} is {self.state} after {self.progress.rows_done} of "
                f"{self.progress.rows_total} rows" + (f": {self.error}" if self.error else "")
            )


def augment(
    model: str,
    *,
    n: int | None = None,
    seed: int | None = None,
    labels: Mapping[str, int] | Literal["balanced"] | None = None,
    top_up: Mapping[str, Any] | None = None,
    format: Format | None = None,  # noqa: A002  the API's name
    dtype: Literal["float32", "uint8"] | None = None,
    chunk_rows: int | None = None,
    accept: Mapping[str, Any] | None = None,
    unique: bool | None = None,
    truncation: float | None = None,
    temperature: float | None = None,
    burn_in: int | None = None,
    values: Literal["mean", "sample"] | None = None,
    report: bool | None = None,
    idempotency_key: str | None = None,
    **options: Unpack[Options],
) -> Request[OrderStatus]:
    """Order a synthetic data set, which the server makes in the background.

    Args:
        model: `name` or `name@version`.
        n: how many rows; not needed where `labels` or `top_up` say it.
        seed: the same order with the same seed gives the same files.
        labels: conditional models: rows by label, or `balanced`.
        top_up: conditional models: what is missing, instead of labels: `{"have": {label: rows},
            "to": "largest"}`; `to` may also be a number of rows, or rows by label.
        format: of the files; default `parquet`.
        dtype: of the images in parquet, arrow and npz.
        chunk_rows: rows a file.
        accept: which draws are kept: `max_p_value_rejected`, `judge` and others of the API.
        unique: no two rows with the same 8-bit pixels.
        truncation: GANs: 0 < ψ ≤ 1.
        temperature: energy models: T = 1/β, above 0.
        burn_in: energy models: sweeps.
        values: energy models: `mean` or `sample`.
        report: whether a quality report is made; default yes.
        idempotency_key: the same key gives the order that it gave before; by default a new one, so
            that a request that is sent again after a lost answer does not order twice.
        **options: `timeout_s` and `priority`, for the request that places the order.
    """
    given = {
        "model": model, "n": n, "seed": seed, "labels": labels,
        "top_up": top_up, "format": format, "dtype": dtype,
        "chunk_rows": chunk_rows, "accept": accept, "unique": unique, "truncation": truncation,
        "temperature": temperature, "burn_in": burn_in, "values": values,
        "report": report,
    }  # fmt: skip
    key = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
    return request("POST", PATH, _status, fields=given, headers=key, options=options)


def order(order_id: str, **options: Unpack[Options]) -> Request[OrderStatus]:
    """An order that was placed before."""
    return request("GET", path_of(order_id), _status, options=options)


def orders(
    cursor: str | None = None, **options: Unpack[Options]
) -> Request[tuple[list[OrderStatus], str | None]]:
    """A page of the orders that the service knows, newest first, and the next page's cursor."""
    asked = request("GET", PATH, _page, options=options)
    return asked if cursor is None else replace(asked, params={"cursor": cursor})


def cancel(order_id: str, **options: Unpack[Options]) -> Request[None]:
    """Cancel an order."""
    return request("DELETE", path_of(order_id), _nothing, options=options)


def manifest(order_id: str, **options: Unpack[Options]) -> Request[dict[str, Any]]:
    """An order's request, digests, versions, class counts and quality report."""
    return request("GET", f"{path_of(order_id)}/manifest", document_of, options=options)


def path_of(order_id: str, *more: str) -> str:
    """The path of an order, or of something below it."""
    return "/".join((PATH, segment(order_id), *map(segment, more)))


def status_of(document: Mapping[str, Any]) -> OrderStatus:
    """An order as the server describes it.

    Raises:
        ValueError: it names a file outside the folder that it would be downloaded to.
        LookupError, TypeError, AttributeError: it is not the description of an order.
    """
    progress = document.get("progress") or {}
    return OrderStatus(
        id=document["id"],
        state=document["state"],
        progress=Progress(
            rows_done=progress.get("rows_done", 0),
            rows_total=progress.get("rows_total", 0),
            rows_per_second=progress.get("rows_per_second"),
            eta_s=progress.get("eta_seconds"),
        ),
        seed=document.get("seed"),
        requested=document.get("requested") or {},
        delivered=document.get("delivered") or {},
        files=tuple(map(_file, document.get("files") or ())),
        error=_sentence(document.get("error")),
        document=document,
    )


def _file(found: Mapping[str, Any]) -> OrderFile:
    name = found["name"]
    parts = PurePosixPath(name).parts
    if not parts or {"..", "/"} & set(parts) or set(name) & set("\\:\0"):
        raise ValueError(f"the file name {name[:80]!r} leads out of its folder")
    sha256 = found["sha256"]
    if not _SHA256.fullmatch(sha256):
        raise ValueError(f"{name} has no sha256 of 64 hex digits")
    return OrderFile(name=name, size_bytes=found["bytes"], sha256=sha256, rows=found.get("rows"))


def _sentence(error: object) -> str | None:
    if isinstance(error, Mapping):
        error = error.get("detail")
    return error if isinstance(error, str) else None


def _status(reply: Reply) -> OrderStatus:
    return status_of(document_of(reply))


def _page(reply: Reply) -> tuple[list[OrderStatus], str | None]:
    found = document_of(reply)
    return [status_of(row) for row in found["augmentations"]], found.get("next")


def _nothing(_: Reply) -> None:
    return None
