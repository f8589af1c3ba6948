"""What an actor of a Ray cluster does: load the models once, then make the chunks it is given.

Errand + packages ──a store for a moment──► engines ──batch of chunks──► LocalBackend ──► receipts

It is a plain class, which Ray Data makes once an actor; nothing here imports Ray.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from service.augmentation.asking import PinnedModels
from service.augmentation.backends.local import LocalBackend
from service.augmentation.destination import open_destination
from service.augmentation.folder import AnotherOrder, OrderFolder, Receipt
from service.augmentation.holds import Failed, Held
from service.augmentation.order import from_document
from service.augmentation.own_models import opened
from service.augmentation.runner import Writing
from service.engine import Engine
from service.errors import ServiceError
from service.settings import Settings

Packages = Mapping[str, bytes]  # name/version/file → content


@dataclass(frozen=True)
class Errand:
    """What an actor must know: the order, where it goes, and how models run."""

    SETTINGS: ClassVar = (
        "threads_per_model", "gpu_memory_limit_mib", "allow_torchscript", "batch_rows",
        "chain_slots", "queue_rows", "max_rows", "max_sweeps",
    )  # fmt: skip

    order: dict[str, Any]
    out: str
    device: str
    settings: dict[str, Any]


class ChunkMaker:
    """Makes chunks of one order, batch after batch; said in JSON, one line a receipt."""

    def __init__(self, errand: Errand, packages: Packages) -> None:
        """Load the models; one that cannot be loaded is told of with the first batch."""
        self._folder = OrderFolder(from_document(errand.order), open_destination(errand.out))
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._writing = Writing()
        self._backend = self._runner.run(self._open(errand, packages))

    def __call__(self, batch: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.object_]]:
        """Make the chunks of a batch, unless they are there: {"chunk": …} → {"said": …}."""
        said = self._runner.run(self._make(batch["chunk"].tolist()))
        return {"said": np.array([json.dumps(line) for line in said], np.object_)}

    def close(self) -> None:
        """Let the models go; a cluster ends the whole process instead."""
        self._runner.run(self._stack.aclose())
        self._runner.close()
        self._writing.shutdown()

    async def _open(self, errand: Errand, packages: Packages) -> LocalBackend:
        order = self._folder.order
        with tempfile.TemporaryDirectory(prefix="reverie-") as store:
            for name, content in packages.items():
                path = Path(store) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            settings = Settings(
                _env_file=None,
                models_store=Path(store),
                device=errand.device,
                pool_rows=0,
                **errand.settings,
            )
            engines: list[Engine] = await self._stack.enter_async_context(
                opened(settings, order.model, order.accept.judge)
            )
        models = PinnedModels(engines, order)
        return LocalBackend(
            self._folder,
            models,
            writing=self._writing,
            made_on=lambda: models.made_on(order.model),
        )

    async def _make(self, chunks: Sequence[int]) -> list[dict[str, Any]]:
        """Receipts, and what went wrong, if anything did."""
        said: list[dict[str, Any]] = []

        def note(receipt: Receipt) -> None:
            said.append({"receipt": asdict(receipt)})

        try:
            self._folder.claim()
            there = self._folder.receipts_of(chunks)
            for receipt in there:
                note(receipt)
            done = {receipt.chunk for receipt in there}
            await self._backend.make([c for c in chunks if c not in done], note)
        except Held as held:
            said.append({"held": [held.reason, held.detail]})
        except (Failed, AnotherOrder) as failed:
            said.append({"failed": str(failed)})
        except ServiceError as error:
            said.append({"refused": error.detail})
        except Exception:  # noqa: BLE001  Ray would make the actor anew, and try for ever
            said.append({"broken": traceback.format_exc()})
        return said
