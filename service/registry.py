"""Which models there are: scans the store, verifies, loads, warms; hands out models by name.

models_store/ ──scan──► Entry(loading) ──verify, open, check, warm──► Entry(ready) | Entry(failed)

A package that fails says why in its entry, and the others serve.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import structlog
from jaxtyping import Float

from service.batching import MapScheduler
from service.chains import ChainScheduler
from service.contract import (
    FunctionSpec,
    Manifest,
    PackageError,
    Role,
    TensorSpec,
    read_manifest,
    read_package,
    read_verified,
)
from service.errors import NotReady, UnknownModel
from service.invariance import Padding, measure_padding
from service.metrics import Metrics
from service.sessions import Arrays, Session, TensorType
from service.sessions.onnx import OnnxSession, choose_device
from service.settings import Settings

log = structlog.get_logger(__name__)

Calibrations = dict[str, Float[np.ndarray, " held_out"]]


@dataclass(frozen=True)
class LoadedFunction:
    """A function that has been checked against its graph, and the batch sizes it is run at."""

    spec: FunctionSpec
    session: Session
    padding: Padding

    @property
    def seeded(self) -> bool:
        """Whether seeded answers go through it: it is fed draws, states or features, not only x."""
        return any(t.role not in {Role.DATA, Role.MASK} for t in self.spec.inputs)

    def run(self, inputs: Arrays) -> Arrays:
        """All outputs that the manifest names."""
        return self.session.run(tuple(t.name for t in self.spec.outputs), inputs)


@dataclass(eq=False)
class Model:
    """A package in memory: its manifest, functions, schedulers and calibration scores."""

    manifest: Manifest
    directory: Path
    device: str
    runtime: str
    functions: dict[str, LoadedFunction]
    calibrations: Calibrations
    maps: dict[str, MapScheduler] = field(default_factory=dict)
    chains: dict[str, ChainScheduler] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """`name@version`."""
        return self.manifest.id

    @property
    def seed_promise(self) -> str:
        """What is promised of seeds on this device, in a sentence."""
        loose = [n for n, f in self.functions.items() if f.seeded and not f.padding.holds]
        if loose:
            return (
                f"On {self.device} with {self.runtime}, rows of {', '.join(loose)} vary in their "
                "last bits with their batch: a seed repeats a sample closely, not exactly."
            )
        kept = (
            "Row i of a seeded answer is the same bytes alone, in any batch and after a restart, "
            f"on {self.device} with {self.runtime}"
        )
        chain = self.functions.get("sweep")
        if chain is not None and chain.spec.exact:
            return kept + "; its Markov chains are integer arithmetic, the same on every device."
        return kept + ": batch sizes were compared when the model was loaded."

    @property
    def schedulers(self) -> tuple[MapScheduler | ChainScheduler, ...]:
        """The queues and slots of all its functions."""
        return (*self.maps.values(), *self.chains.values())

    @property
    def queued_rows(self) -> int:
        """Rows that wait, over all functions."""
        return sum(s.queued_rows for s in self.schedulers)

    @property
    def running_rows(self) -> int:
        """Rows inside calls and slots."""
        return sum(s.running_rows for s in self.schedulers)

    @property
    def alive(self) -> bool:
        """False once one of its loops has died."""
        return all(s.alive for s in self.schedulers)

    async def close(self) -> None:
        """Stop every scheduler."""
        await asyncio.gather(*(s.close() for s in self.schedulers))


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
        name, _, version = reference.partition("@")
        found = [e for e in self._entries if e.name == name and version in {"", str(e.version)}]
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
        self._entries = [
            Entry(name=directory.parent.name, version=int(directory.name), directory=directory)
            for directory in package_directories(self._settings.models_store)
            if only in {None, directory.parent.name}
        ]
        if not self._entries:
            log.warning("no_models", remedy="train one, or `reverie models add FILE.onnx`")

    async def load_all(self) -> None:
        """Load every scanned package, one after the other; failures stay with their entry."""
        with ThreadPoolExecutor(1, thread_name_prefix="loading") as thread:
            for entry in self._entries:
                await self._load(entry, thread)
        self.ready = True

    async def close(self) -> None:
        """Stop every model."""
        await asyncio.gather(*(model.close() for model in self.models()))

    async def _load(self, entry: Entry, thread: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        try:
            entry.manifest = await loop.run_in_executor(thread, read_manifest, entry.directory)
            model = await loop.run_in_executor(thread, open_model, entry.directory, self._settings)
            self._start(model)
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
        self._metrics.model_ready.labels(model=entry.name).set(float(entry.model is not None))
        if entry.model is not None:
            self._metrics.model_info.labels(
                model=entry.name,
                version=str(entry.version),
                digest=entry.model.manifest.digest,
                family=entry.model.manifest.family,
                runtime=entry.model.runtime,
                device=entry.model.device,
            ).set(1)

    def _start(self, model: Model) -> None:
        """Give every function its scheduler: a queue for maps, slots for steps."""
        name = model.manifest.name
        for function_name, function in model.functions.items():
            if function.spec.kind == "map":
                model.maps[function_name] = MapScheduler(
                    f"{name}.{function_name}",
                    function.run,
                    padding=function.padding,
                    max_rows=function.padding.largest or self._settings.batch_rows,
                    max_queue_rows=self._settings.queue_rows,
                    on_batch=self._metrics.batch_rows.labels(
                        model=name, function=function_name
                    ).observe,
                )
            else:
                model.chains[function_name] = ChainScheduler(
                    f"{name}.{function_name}",
                    function.run,
                    function.spec,
                    padding=function.padding,
                    slots=function.padding.largest or self._settings.chain_slots,
                    max_queue_rows=self._settings.queue_rows,
                    on_tick=self._count_sweeps(name, function_name),
                )
        self._metrics.queue_rows.labels(model=name).set_function(lambda: model.queued_rows)
        self._metrics.inflight_rows.labels(model=name).set_function(lambda: model.running_rows)

    def _count_sweeps(self, name: str, function: str) -> Callable[[int, int], None]:
        sweeps = self._metrics.gibbs_sweeps.labels(model=name)
        batch = self._metrics.batch_rows.labels(model=name, function=function)

        def count(rows: int, ticks: int) -> None:
            sweeps.inc(rows * ticks)
            batch.observe(rows)

        return count

    def _known(self, name: str) -> str:
        versions = [str(e.version) for e in self._entries if e.name == name]
        if versions:
            return f"its versions here are {', '.join(versions)}"
        names = sorted({e.name for e in self._entries})
        return f"this service has {', '.join(names)}" if names else "this service has no models"


def package_directories(store: Path) -> list[Path]:
    """<name>/<version>/ folders under `store` that hold a manifest, by name and version."""
    found = [
        manifest.parent
        for manifest in store.glob("*/*/manifest.json")
        if manifest.parent.name.isdecimal() and not manifest.parent.parent.name.startswith(".")
    ]
    return sorted(found, key=lambda d: (d.parent.name, int(d.name)))


def open_model(directory: Path, settings: Settings) -> Model:
    """Verify a package, open its graphs, check them against the manifest, and warm them.

    Raises:
        PackageError: with the reason, for a person to read.
    """
    manifest = read_package(directory)
    device = choose_device(settings.device)
    sessions: dict[str, Session] = {}
    functions: dict[str, LoadedFunction] = {}
    for name, spec in manifest.functions.items():
        if spec.sha256 not in sessions:
            content = read_verified(directory, spec.file, spec.sha256)
            sessions[spec.sha256] = OnnxSession(
                content, device=device, threads=settings.threads_per_model
            )
        session = sessions[spec.sha256]
        check_signature(name, spec, session)
        outputs = tuple(t.name for t in spec.outputs)
        padding = measure_padding(
            lambda inputs, s=session, o=outputs: s.run(o, inputs),  # type: ignore[misc]
            spec,
            max_rows=settings.batch_rows,
        )
        functions[name] = LoadedFunction(spec=spec, session=session, padding=padding)
    first = next(iter(sessions.values()))
    return Model(
        manifest=manifest,
        directory=directory,
        device=first.device,
        runtime=first.runtime,
        functions=functions,
        calibrations=_read_calibrations(directory, manifest),
    )


def check_signature(name: str, spec: FunctionSpec, session: Session) -> None:
    """Refuse a graph whose inputs or outputs are not those of the manifest.

    Raises:
        PackageError: names the function, the tensor and the difference.
    """
    inputs, outputs = session.signature()
    undeclared = inputs.keys() - {t.name for t in spec.inputs}
    if undeclared:
        raise PackageError(f"{name}: the graph also wants {', '.join(sorted(undeclared))}")
    for tensors, found in ((spec.inputs, inputs), (spec.outputs, outputs)):
        for tensor in tensors:
            if tensor.name not in found:
                raise PackageError(f"{name}: the graph has no {tensor.name!r}")
            _check_tensor(name, tensor, found[tensor.name])


def _check_tensor(function: str, tensor: TensorSpec, found: TensorType) -> None:
    dtype, shape = found
    where = f"{function}: {tensor.name!r}"
    if dtype != tensor.dtype:
        raise PackageError(f"{where} is {dtype} in the graph, {tensor.dtype} in the manifest")
    if len(shape) != len(tensor.shape):
        raise PackageError(f"{where} has {len(shape)} axes in the graph, not {len(tensor.shape)}")
    if isinstance(shape[0], int):
        raise PackageError(f"{where} has a fixed batch of {shape[0]}: export a dynamic first axis")
    for declared, size in zip(tensor.shape[1:], shape[1:], strict=True):
        if isinstance(size, int) and size != declared:
            raise PackageError(f"{where} is {list(shape)} in the graph, not {list(tensor.shape)}")


def _read_calibrations(directory: Path, manifest: Manifest) -> Calibrations:
    found: Calibrations = {}
    for score in manifest.scores:
        if score.calibration is None:
            continue
        entry = score.calibration
        content = read_verified(directory, entry.file, entry.sha256)
        try:
            scores = np.load(io.BytesIO(content), allow_pickle=False)
        except ValueError as error:
            raise PackageError(f"{entry.file} is not a plain .npy array") from error
        rising = scores.ndim == 1 and len(scores) == entry.n and bool((np.diff(scores) >= 0).all())
        if not rising:
            raise PackageError(f"{entry.file} must hold {entry.n} scores in rising order")
        found[score.method] = scores
    return found
