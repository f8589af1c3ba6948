"""One function of a package: opened, checked against the manifest, measured and warm.

file ──digest──► session on the model's device ──signature──► padding ──► warm ──► LoadedFunction
                                              └─ the GPU cannot run it ──► on the CPU
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from service.contract import FunctionSpec, PackageError, Role, TensorSpec, read_verified
from service.domain.arrays import Arrays
from service.invariance import MapFunction, Padding, measure_padding, random_rows
from service.sessions import Session, TensorType
from service.sessions.devices import CPU
from service.sessions.opening import Runtimes, open_session
from service.settings import Settings

log = structlog.get_logger(__name__)


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

    @property
    def resident(self) -> bool:
        """Whether `iterate` saves transfers: its states stay on a GPU, at any batch size."""
        return self.session.device != CPU and not self.padding.sizes

    def run(self, inputs: Arrays) -> Arrays:
        """All outputs that the manifest names."""
        return self.session.run(tuple(t.name for t in self.spec.outputs), inputs)

    def iterate(self, inputs: Arrays, noises: Iterable[Arrays]) -> Arrays:
        """The states after one step for each of `noises`, by the names of the state outputs.

        On a GPU the states stay there in between: one call costs one transfer of states each way.

        Args:
            inputs: first states and parameters, each [rows, …].
            noises: each step's noise inputs, {} where a step wants none; one at least. Asked for
                one by one, each when the step before has run.
        """
        feedback = {old.name: new.name for old, new in self.spec.state_pairs}
        return self.session.iterate(feedback, inputs, noises)


class Opener:
    """Opens the functions of one package; those with equal files share a session."""

    def __init__(self, directory: Path, settings: Settings, *, device: str) -> None:
        self._directory = directory
        self._settings = settings
        self._device = device
        self._sessions: dict[str, Session] = {}
        self._runtimes = Runtimes(
            threads=settings.threads_per_model,
            memory_limit_mib=settings.gpu_memory_limit_mib,
            allow_torchscript=settings.allow_torchscript,
        )

    def open(self, name: str, spec: FunctionSpec) -> LoadedFunction:
        """One function, checked, measured and warm; on the CPU if the GPU cannot run a row of it.

        Raises:
            PackageError: its graph is not what the manifest says.
        """
        session = self._sessions.get(spec.sha256) or self._session(spec, self._device)
        check_signature(name, spec, session)
        try:
            return self._measured(spec, session)
        except Exception as error:
            if session.device == CPU:
                raise
            log.warning(
                "function_fell_back", function=name, asked=session.device, using=CPU, exc_info=error
            )
        return self._measured(spec, self._session(spec, CPU))

    def _session(self, spec: FunctionSpec, device: str) -> Session:
        content = read_verified(self._directory, spec.file, spec.sha256)
        session = open_session(
            content, spec, device=device, example=random_rows(spec, 2), runtimes=self._runtimes
        )
        self._sessions[spec.sha256] = session
        return session

    def _measured(self, spec: FunctionSpec, session: Session) -> LoadedFunction:
        """With its padding; on a GPU, for as many rows as it has memory for, and warm."""
        outputs = tuple(t.name for t in spec.outputs)

        def run(inputs: Arrays) -> Arrays:
            return session.run(outputs, inputs)

        if session.device == CPU:
            padding = measure_padding(run, spec, max_rows=self._settings.batch_rows)
            return LoadedFunction(spec=spec, session=session, padding=padding)
        padding = _measured_smaller(run, spec, self._settings.batch_rows)
        return self._warm(LoadedFunction(spec=spec, session=session, padding=padding))

    def _warm(self, function: LoadedFunction) -> LoadedFunction:
        """Run every padded size once, so that no caller waits for memory or for a recording.

        From the first size that fails on, batches are kept smaller.
        """
        step = function.spec.kind == "step"
        largest = self._settings.chain_slots if step else self._settings.batch_rows
        sizes = function.padding.sizes or _powers_of_two(largest)
        for i, size in enumerate(sizes):
            try:
                _run_once(function, size)
            except Exception as error:
                if i == 0:
                    raise
                log.warning("largest_batch", rows=sizes[i - 1], reason=str(error)[:200])
                return replace(function, padding=replace(function.padding, sizes=sizes[:i]))
        return function


def _measured_smaller(run: MapFunction, spec: FunctionSpec, rows: int) -> Padding:
    """The padding for batches of `rows`, or of as few as there is memory for."""
    try:
        return measure_padding(run, spec, max_rows=rows)
    except Exception:
        if rows == 1:
            raise
        return _measured_smaller(run, spec, rows // 2)


def _run_once(function: LoadedFunction, size: int) -> None:
    """One batch; of a step function two steps, whose states take turns between two buffers."""
    inputs = random_rows(function.spec, size)
    if function.spec.kind == "map":
        function.run(inputs)
        return
    noise = {t.name: inputs.pop(t.name) for t in function.spec.noises}
    function.iterate(inputs, [noise, noise])


def _powers_of_two(largest: int) -> tuple[int, ...]:
    """1, 2, 4 … up to the first that holds `largest` rows."""
    return tuple(2**k for k in range((largest - 1).bit_length() + 1))


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
