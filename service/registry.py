"""Which models there are: scans the store, loads what is new, swaps what has changed.

models_store/ ──scan──► Entry(loading) ──load──► Entry(ready) | Entry(failed)
reload: new and changed packages are loaded beside the old ones, swapped in when they are warm;
requests in flight end on the model they began with

A package that fails says why in its entry, and the others serve.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog

from service.contract import Manifest, PackageError, read_manifest
from service.errors import NotReady, UnknownModel
from service.loading import open_model, package_directories
from service.metrics import Metrics
from service.model import Model
from service.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class Entry:
    """One package in the store, loaded or not."""

    name: str
    version: int
    directory: Path
    state: Literal["loading", "ready", "failed"] = "loading"
    reason: str | None = None
    manifest: Manifest | None = None
    model: Model | None = None


class Registry:
    """The models of one store."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._entries: list[Entry] = []
        self._reloading = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self.ready = False

    def entries(self) -> tuple[Entry, ...]:
        """Every package, by name and version."""
        return tuple(self._entries)

    def models(self) -> tuple[Model, ...]:
        """Every model that is ready."""
        return tuple(entry.model for entry in self._entries if entry.model is not None)

    def entry(self, reference: str) -> Entry:
        """The package called `name` (newest ready version, else newest) or `name@version`.

        Raises:
            UnknownModel: there is none.
        """
        name, at, version = reference.partition("@")
        found = [
            e for e in self._entries if e.name == name and (not at or version == str(e.version))
        ]
        if not found:
            raise UnknownModel(f"no model {reference!r}: {self._known(name)}")
        ready = [e for e in found if e.state == "ready"]
        return (ready or found)[-1]

    def get(self, reference: str) -> Model:
        """The ready model of that name.

        Raises:
            UnknownModel: there is none of that name or version.
            NotReady: it is loading, or could not be loaded.
        """
        entry = self.entry(reference)
        if entry.model is not None:
            return entry.model
        if entry.state == "failed":
            raise NotReady(
                f"model {entry.name}@{entry.version} failed to load: {entry.reason}",
                retry_after_s=60,
            )
        raise NotReady(f"model {entry.name}@{entry.version} is still loading", retry_after_s=1)

    def scan(self, *, only: str | None = None) -> None:
        """List the packages in the store, or those of one name; none is opened yet."""
        self._entries = self._scanned(only)
        if not self._entries:
            log.warning("no_models", remedy="train one, or `reverie models add FILE.onnx`")

    async def load_all(self) -> None:
        """Load every scanned package, one after the other; failures stay with their entry."""
        with ThreadPoolExecutor(1, thread_name_prefix="loading") as thread:
            for entry in self._entries:
                await self._load(entry, thread)
        self.ready = True

    async def reload(self) -> None:
        """Make the models those of the store as it is now, without failing a request.

        Unchanged packages stay as they are. A changed one that fails leaves the old one serving.
        """
        async with self._reloading:
            old = {(e.name, e.version): e for e in self._entries}
            following: list[Entry] = []
            with ThreadPoolExecutor(1, thread_name_prefix="loading") as thread:
                for entry in self._scanned(None):
                    known = old.get((entry.name, entry.version))
                    following.append(await self._refreshed(entry, known, thread))
            kept = {id(entry.model) for entry in following}
            retired = [e for e in self._entries if e.model and id(e.model) not in kept]
            self._entries = following
        for entry in retired:
            self._forget(entry)
        log.info("reloaded", models=len(following), retired=len(retired))

    async def close(self) -> None:
        """Stop every model."""
        await asyncio.gather(*(model.close() for model in self.models()))
        await asyncio.gather(*self._retiring, return_exceptions=True)

    def _scanned(self, only: str | None) -> list[Entry]:
        return [
            Entry(name=directory.parent.name, version=int(directory.name), directory=directory)
            for directory in package_directories(self._settings.models_store)
            if only in {None, directory.parent.name}
        ]

    async def _refreshed(
        self, entry: Entry, known: Entry | None, thread: ThreadPoolExecutor
    ) -> Entry:
        """The entry to serve from now on: the known one, unless the package has changed."""
        if known is None or known.model is None:
            await self._load(entry, thread)
            return entry
        try:
            manifest = await asyncio.get_running_loop().run_in_executor(
                thread, read_manifest, entry.directory
            )
        except PackageError as error:
            log.error("reload_kept_old_model", model=known.model.id, reason=str(error))
            return known
        if manifest == known.manifest:
            return known
        await self._load(entry, thread)
        if entry.model is None:
            log.error("reload_kept_old_model", model=known.model.id, reason=entry.reason)
            return known
        return entry

    def _forget(self, entry: Entry) -> None:
        """Let a model that is no longer listed end its requests, then close it."""
        assert entry.model is not None
        task = asyncio.create_task(entry.model.retire(self._settings.drain_timeout_s))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        still = any(e.name == entry.name and e.model for e in self._entries)
        self._metrics.model_ready.labels(model=entry.name).set(float(still))
        self._metrics.model_info.remove(*_info(entry.model).values())

    async def _load(self, entry: Entry, thread: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        try:
            entry.manifest = await loop.run_in_executor(thread, read_manifest, entry.directory)
            package = await loop.run_in_executor(
                thread, open_model, entry.directory, self._settings
            )
            model = Model(package, self._settings, self._metrics)
        except PackageError as error:
            entry.state, entry.reason = "failed", str(error)
            log.error("model_failed", model=f"{entry.name}@{entry.version}", reason=str(error))
        except Exception as error:  # one bad package must not stop the others
            entry.state, entry.reason = "failed", f"{type(error).__name__} while loading"
            log.error("model_failed", model=f"{entry.name}@{entry.version}", exc_info=error)
        else:
            entry.model, entry.state = model, "ready"
            log.info("model_ready", model=model.id, device=model.device, runtime=model.runtime)
        self._describe(entry)

    def _describe(self, entry: Entry) -> None:
        still = entry.model or any(e.name == entry.name and e.model for e in self._entries)
        self._metrics.model_ready.labels(model=entry.name).set(float(bool(still)))
        if entry.model is not None:
            self._metrics.model_info.labels(**_info(entry.model)).set(1)
            self._watch(entry.name)

    def _watch(self, name: str) -> None:
        """Gauges of rows, summed over the versions of a name."""

        def queued() -> float:
            return sum(m.queued_rows for m in self.models() if m.manifest.name == name)

        def running() -> float:
            return sum(m.running_rows for m in self.models() if m.manifest.name == name)

        self._metrics.queue_rows.labels(model=name).set_function(queued)
        self._metrics.inflight_rows.labels(model=name).set_function(running)

    def _known(self, name: str) -> str:
        versions = [str(e.version) for e in self._entries if e.name == name]
        if versions:
            return f"its versions here are {', '.join(versions)}"
        names = sorted({e.name for e in self._entries})
        return f"this service has {', '.join(names)}" if names else "this service has no models"


def _info(model: Model) -> dict[str, str]:
    """The labels of `model_info`, in their order."""
    return {
        "model": model.manifest.name,
        "version": str(model.manifest.version),
        "digest": model.manifest.digest,
        "family": model.manifest.family,
        "runtime": model.runtime,
        "device": model.device,
    }
