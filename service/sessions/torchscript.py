"""TorchScript: the one place that imports torch. Deprecated upstream, so an option beside ONNX.

bytes ──► torch.jit.load ──► tried on a few rows ──► run            on a GPU: a CUDA graph for each
                                                                    padded batch size

A TorchScript file is a program: it may write files while it is loaded. `open_session` loads one
only where the operator allows it.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.contract import FunctionSpec, PackageError
from service.domain.arrays import Arrays
from service.sessions import Session, Signature, TensorType
from service.sessions.buffers import padded_size

log = structlog.get_logger(__name__)

_WARM_UPS = 3  # runs before a recording: libraries make their handles and workspaces


class TorchScriptSession(Session):
    """One TorchScript module, whose `forward` takes and gives tensors in the manifest's order."""

    def __init__(
        self, content: bytes, spec: FunctionSpec, *, device: str, example: Arrays, threads: int
    ) -> None:
        """Load a module whose digest has been checked, and try it on the rows of `example`.

        Raises:
            PackageError: not TorchScript, or not the function that the manifest describes.
        """
        self.runtime = f"torchscript {torch.__version__}"
        self.device = _usable(device)
        self._spec = spec
        self._device = torch.device(self.device)
        _exact_arithmetic(self._device, threads)
        self._module = _load(content, self._device, spec.file)
        self._lock = threading.Lock()
        self._records = self._device.type == "cuda"
        self._recordings: dict[int, _Recording] = {}
        self._check_arguments()
        self._signature = self._tried(example)

    def signature(self) -> Signature:
        """Inputs as the manifest names them, outputs as they came out of a trial."""
        return self._signature

    def run(self, outputs: tuple[str, ...], inputs: Arrays) -> Arrays:
        """The named outputs."""
        arrays = [inputs[t.name] for t in self._spec.inputs]
        # Without the optimising executor: it would rewrite the graph after a few runs, and the
        # last bits with it.
        with self._lock, torch.inference_mode(), torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            answers = self._recorded(arrays) if self._records else self._computed(arrays)
            named = zip(self._spec.outputs, answers, strict=True)
            return {t.name: found.cpu().numpy() for t, found in named if t.name in outputs}

    def _computed(self, arrays: Sequence[NDArray[Any]]) -> tuple[Tensor, ...]:
        return _tensors(self._module(*(_tensor(array).to(self._device) for array in arrays)))

    def _recorded(self, arrays: Sequence[NDArray[Any]]) -> tuple[Tensor, ...]:
        size = padded_size(len(arrays[0]))
        with torch.cuda.device(self._device):
            if size not in self._recordings:
                try:
                    self._recordings[size] = _Recording(self._module, arrays, size, self._device)
                except torch.OutOfMemoryError:
                    raise
                except RuntimeError as error:
                    self._records = False
                    log.warning("cuda_graphs_off", device=self.device, reason=str(error)[:200])
                    return self._computed(arrays)
            return self._recordings[size].run(arrays)

    def _check_arguments(self) -> None:
        schema: Any = self._module.forward.schema  # type: ignore[attr-defined]
        taken = [a.name for a in schema.arguments[1:]]
        if len(taken) != len(self._spec.inputs):
            raise PackageError(
                f"{self._spec.file} takes {len(taken)} inputs ({', '.join(taken)}), the manifest "
                f"names {len(self._spec.inputs)}"
            )

    def _tried(self, example: Arrays) -> Signature:
        """What comes out for all the rows and for the first alone tells shapes and dtypes."""
        names = tuple(t.name for t in self._spec.outputs)
        try:
            found = self.run(names, example)
            single = self.run(names, {name: array[:1] for name, array in example.items()})
        except Exception as error:  # torch has no common root for its many errors
            raise PackageError(
                f"{self._spec.file} does not turn batches of 1 and {_rows(example)} rows of the "
                f"manifest's inputs into its {len(names)} outputs"
            ) from error
        follows = {n: len(found[n]) == _rows(example) and len(single[n]) == 1 for n in names}
        inputs: dict[str, TensorType] = {
            t.name: (t.dtype, (None, *t.row_shape)) for t in self._spec.inputs
        }
        return inputs, {name: _type_of(found[name], follows=follows[name]) for name in names}


class _Recording:
    """A CUDA graph of one padded batch size: tensors at fixed addresses, and one launch."""

    def __init__(
        self,
        module: torch.jit.ScriptModule,
        arrays: Sequence[NDArray[Any]],
        size: int,
        device: torch.device,
    ) -> None:
        self._inputs = [
            torch.zeros((size, *a.shape[1:]), dtype=_tensor(a).dtype, device=device) for a in arrays
        ]
        self._send(arrays)
        aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        present = torch.cuda.current_stream(device)
        aside.wait_stream(present)
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                module(*self._inputs)
        present.wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads go on using the GPU meanwhile; only this one is recorded.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._outputs = _tensors(module(*self._inputs))

    def run(self, arrays: Sequence[NDArray[Any]]) -> tuple[Tensor, ...]:
        """The rows that were given; the next run writes over them."""
        self._send(arrays)
        self._graph.replay()
        return tuple(output[: len(arrays[0])] for output in self._outputs)

    def _send(self, arrays: Sequence[NDArray[Any]]) -> None:
        for static, array in zip(self._inputs, arrays, strict=True):
            static[: len(array)].copy_(_tensor(array))


def _load(content: bytes, device: torch.device, file: str) -> torch.jit.ScriptModule:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that TorchScript is deprecated, the operator knows
            module = torch.jit.load(io.BytesIO(content), map_location=device)  # type: ignore[no-untyped-call]
    except Exception as error:  # as above
        raise PackageError(
            f"{file} is no TorchScript that torch {torch.__version__} can load: copy or export the "
            "package again"
        ) from error
    evaluated: torch.jit.ScriptModule = module.eval()
    return evaluated


def _usable(device: str) -> str:
    if device == "cpu" or torch.cuda.is_available():
        return device
    log.warning(
        "device_unavailable",
        asked=device,
        using="cpu",
        reason="this torch cannot use the GPU",
        remedy="install a build of torch for CUDA, or set REVERIE_DEVICE=cpu",
    )
    return "cpu"


def _exact_arithmetic(device: torch.device, threads: int) -> None:
    """One choice of algorithm for one shape, in full float32; torch keeps this by process."""
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.backends.cuda.matmul.fp32_precision = "ieee"
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True


def _tensor(array: NDArray[Any]) -> Tensor:
    """Shares the array's memory where torch can."""
    plain = np.ascontiguousarray(array)
    return torch.from_numpy(plain if plain.flags.writeable else plain.copy())


def _tensors(answer: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    return (answer,) if isinstance(answer, Tensor) else tuple(answer)


def _type_of(array: NDArray[Any], *, follows: bool) -> TensorType:
    rows = None if follows else len(array)
    return str(array.dtype), (rows, *array.shape[1:])


def _rows(inputs: Arrays) -> int:
    return len(next(iter(inputs.values())))
