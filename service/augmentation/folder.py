"""An order's folder: files, receipts, and what is missing; at the end, the manifest.

order.json ──► chunk files, each with a receipt ──► (passes against duplicates) ──► manifest.json

A chunk is done when its receipt is there: the receipt is written after the file is durable. So
resuming is listing what is missing, on this machine or on several that share the folder.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from service.augmentation.chunks import ChunkRows
from service.augmentation.destination import Destination
from service.augmentation.duplicates import HASH_BYTES, Hash, TooManyRepeats, repeats
from service.augmentation.formats import DATA, FORMATS, file_name
from service.augmentation.holds import Failed
from service.augmentation.order import Order, from_document

ORDER_FILE = "order.json"
MANIFEST_FILE = "manifest.json"
RECEIPTS = ".receipts"
MAX_PASSES = 32
READERS = 16  # receipts that are read at a time


class AnotherOrder(Exception):
    """The folder is not this order's."""


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """A chunk that is done: its file, and what it took. `delivered` is by label, in their order."""

    chunk: int
    name: str
    bytes: int
    sha256: str
    rows: int
    asked: int
    delivered: tuple[int, ...]
    drawn: int
    rejected: int
    duplicates: int
    passes: int
    made_on: dict[str, str]

    @property
    def file(self) -> dict[str, Any]:
        """What a list of files says of it."""
        return {"name": self.name, "bytes": self.bytes, "sha256": self.sha256, "rows": self.rows}


class OrderFolder:
    """One order at one destination. Methods block; they are called beside the event loop."""

    def __init__(self, order: Order, destination: Destination) -> None:
        self.order = order
        self.destination = destination
        self._passes: list[dict[str, list[str]]] = []

    def is_ours(self) -> bool:
        """Whether the folder has this order already; else it is empty.

        Raises:
            AnotherOrder: the folder holds another order, or files of something else.
        """
        content = self.destination.read(ORDER_FILE)
        if content is None:
            if self.destination.sizes() or self.destination.sizes(DATA):
                raise AnotherOrder("the folder has files and no order: give an empty one")
            return False
        found = read_order(content)
        if found != self.order:
            raise AnotherOrder(
                f"the folder holds another order, {_difference(found, self.order)}: give an empty "
                "folder, or the arguments of the first order"
            )
        return True

    def open(self) -> list[Receipt]:
        """Claim the folder for this order, or find what it has already; its valid receipts.

        Raises:
            AnotherOrder: the folder holds another order, or files of something else.
            Held: there is no space.
        """
        self.claim()
        names = self.destination.sizes(RECEIPTS)
        return list(self._read(n for n in names if n.startswith("chunk-") and n.endswith(".json")))

    def claim(self) -> None:
        """Claim the folder for this order, unless it is this order's already.

        Raises:
            AnotherOrder: the folder holds another order, or files of something else.
            Held: there is no space.
        """
        if not self.is_ours():
            self.destination.write(ORDER_FILE, _pretty(self.order.document()))
        self._passes = self._read_passes()

    def receipts_of(self, chunks: Iterable[int]) -> list[Receipt]:
        """The valid receipts of a few chunks, without a look at all the others."""
        return list(self._read(f"chunk-{chunk}.json" for chunk in chunks))

    @property
    def manifest(self) -> dict[str, Any] | None:
        """The manifest, if the order has ended."""
        content = self.destination.read(MANIFEST_FILE)
        return None if content is None else json.loads(content)

    def banned(self, chunk: int) -> frozenset[Hash]:
        """Hashes that this chunk may not have, since other chunks have them."""
        hashes = (h for one in self._passes for h in one.get(str(chunk), ()))
        return frozenset(map(bytes.fromhex, hashes))

    def keep(self, rows: ChunkRows, *, made_on: Mapping[str, str]) -> Receipt:
        """Write a chunk's file, then its receipt; `made_on` says by what it was made.

        Raises:
            Held: there is no space.
        """
        order = self.order
        content = FORMATS[order.format].write(order, rows)
        counts = Counter([] if rows.labels is None else rows.labels.tolist())
        labelled = tuple(counts[k] for k in range(len(order.labels or ())))
        receipt = Receipt(
            chunk=rows.chunk,
            name=file_name(order, rows.chunk),
            bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            rows=len(rows),
            asked=rows.asked,
            delivered=labelled if order.labels else (len(rows),),
            drawn=rows.drawn,
            rejected=rows.rejected,
            duplicates=rows.duplicates,
            passes=self._passes_of(rows.chunk),
            made_on=dict(made_on),
        )
        self.destination.write(receipt.name, content)
        if order.unique:
            self.destination.write(_receipt(rows.chunk, "hashes"), b"".join(rows.hashes))
        self.destination.write(_receipt(rows.chunk, "json"), json.dumps(asdict(receipt)).encode())
        return receipt

    def forget(self, chunk: int) -> None:
        """Let a chunk count as missing."""
        self.destination.remove(_receipt(chunk, "json"))

    def new_pass(self) -> list[int]:
        """Once all chunks are there: those to make again, since other chunks have rows of theirs.

        Raises:
            Failed: the model has fewer different images than were ordered.
        """
        if not self.order.unique:
            return []
        try:
            found = repeats(self._hashes())
        except TooManyRepeats:
            raise Failed(_TOO_FEW) from None
        if not found:
            return []
        if len(self._passes) == MAX_PASSES:
            raise Failed(_TOO_FEW)
        banned = {str(chunk): [h.hex() for h in hashes] for chunk, hashes in found.items()}
        name = f"{RECEIPTS}/pass-{len(self._passes)}.json"
        self.destination.write(name, json.dumps(banned).encode())
        self._passes.append(banned)
        return list(found)

    def ended(self) -> dict[str, Any] | None:
        """The manifest of an order that has ended, once its receipts are gone too."""
        found = self.manifest
        if found is not None:
            self.destination.remove(RECEIPTS)
        return found

    def close(self, manifest: dict[str, Any]) -> None:
        """Write the manifest, then let the receipts go."""
        self.destination.write(MANIFEST_FILE, _pretty(manifest))
        self.destination.remove(RECEIPTS)

    def _read(self, names: Iterable[str]) -> Iterator[Receipt]:
        """Receipts that count: those of before a chunk's last pass do not.

        Several are read at a time, since an object store takes milliseconds for each.
        """
        waiting = iter(names)
        with ThreadPoolExecutor(READERS) as pool:
            while some := list(islice(waiting, READERS * 64)):
                for content in pool.map(self.destination.read, (f"{RECEIPTS}/{n}" for n in some)):
                    if content is not None and self._counts(
                        receipt := receipt_from(json.loads(content))
                    ):
                        yield receipt

    def _counts(self, receipt: Receipt) -> bool:
        return receipt.passes == self._passes_of(receipt.chunk)

    def _hashes(self) -> Iterator[tuple[int, bytes]]:
        for chunk in range(self.order.chunks):
            content = self.destination.read(_receipt(chunk, "hashes"))
            assert content is not None, "a receipt is written after its hashes"
            assert len(content) % HASH_BYTES == 0
            yield chunk, content

    def _passes_of(self, chunk: int) -> int:
        return sum(str(chunk) in one for one in self._passes)

    def _read_passes(self) -> list[dict[str, list[str]]]:
        found: list[dict[str, list[str]]] = []
        while content := self.destination.read(f"{RECEIPTS}/pass-{len(found)}.json"):
            found.append(json.loads(content))
        return found


_TOO_FEW = "the model gives fewer different images than were ordered without duplicates"


def read_order(content: bytes) -> Order:
    """The order of an order.json.

    Raises:
        AnotherOrder: it is not one.
    """
    try:
        return from_document(json.loads(content))
    except ValueError as error:
        raise AnotherOrder(f"order.json in the folder cannot be read: {error}") from error


def receipt_from(found: dict[str, Any]) -> Receipt:
    """The receipt that `asdict` made a document of."""
    return Receipt(**found | {"delivered": tuple(found["delivered"])})


def _receipt(chunk: int, suffix: str) -> str:
    return f"{RECEIPTS}/chunk-{chunk}.{suffix}"


def _difference(old: Order, new: Order) -> str:
    """The first field in which two orders differ, with both values."""
    was, asked = old.document(), new.document()
    name = next(name for name in was if was[name] != asked[name])
    return f"with {name}={was[name]!r} and not {asked[name]!r}"


def _pretty(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"
