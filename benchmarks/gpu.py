"""What does a GPU bring, and by which means? `make gpu`, or `make bench BENCH=gpu`

Chains of mnist-rbm and images of mnist-dcgan's generator, against batch size: on one CPU core, and
on the GPU by a plain run, with IO binding, with CUDA graphs, and in torch. Noise is drawn
beforehand and sent with every sweep, as the service sends it. Without a GPU it says so and ends.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Contender, paired_ratio, save, show, take_turns, timed
from service.contract import FunctionSpec, read_manifest
from service.domain.arrays import Arrays
from service.domain.feeding import cut_noise
from service.invariance import random_rows
from service.sessions import Session
from service.sessions.cuda import cuda_loads, cuda_session
from service.sessions.devices import count_gpus, cuda_is_built_in
from service.sessions.onnx import OnnxSession, open_graph, options
from service.sessions.onnx_signed import with_signed_products
from service.sessions.torchscript import TorchScriptSession
from training.export import fold_batch_norm, to_torchscript
from training.gan_config import GanConfig
from training.networks import Generator, plain, seeded
from training.rbm import Rbm

STORE = Path(__file__).parents[1] / "models_store"
DEVICE = "cuda:0"
SWEEPS = 16  # in one call, as many as a row's noise is drawn ahead
CPU = "cpu"


def main() -> None:
    """Measure and print; say what is missing where there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 16, 64, 256])
    parser.add_argument("--work", type=int, default=20_000, help="rows of work a measurement")
    given = parser.parse_args()
    if reason := missing():
        print(f"benchmarks/gpu: nothing measured: {reason}")
        return
    torch.set_num_threads(1)
    name = torch.cuda.get_device_name(0) if torch.cuda.is_available() else DEVICE
    for what, contenders in (("chains", chains()), ("generate", generators())):
        rows = [measured(n, contenders, rounds=given.rounds, work=given.work) for n in given.rows]
        unit = "Row-sweeps of mnist-rbm" if what == "chains" else "Images of mnist-dcgan"
        show(f"{unit} a second, {name}", rows)
        save(f"gpu-{what}", rows, gpu=name)


def missing() -> str | None:
    """What is in the way of measuring a GPU here, or None."""
    if not count_gpus():
        return "no NVIDIA driver shows a GPU"
    if not cuda_is_built_in():
        return "this onnxruntime has no CUDA provider; `make gpu` installs onnxruntime-gpu"
    if not cuda_loads(DEVICE):
        return "onnxruntime's CUDA provider does not load; the reason is above"
    return None


Work = Callable[[int], int]  # rows of a batch ──► rows of work done


def measured(
    n: int, contenders: Mapping[str, Work], *, rounds: int, work: int
) -> dict[str, object]:
    """One row of the table: rates of all contenders, and their ratios to the CPU."""
    rates = take_turns(
        {name: _repeated(run, n, work) for name, run in contenders.items()}, rounds=rounds
    )
    row: dict[str, object] = {"case": f"{n} rows"}
    for name, found in rates.items():
        row[f"{name}/s"] = round(sorted(found)[len(found) // 2])
    for name in contenders:
        if name != CPU:
            row[f"{name} ÷ {CPU}"] = paired_ratio(rates[name], rates[CPU])
    return row


def _repeated(run: Work, n: int, work: int) -> Contender:
    units = run(n)  # once, for what is made once
    calls = max(work // units, 3)

    def several() -> None:
        for _ in range(calls):
            run(n)

    return timed(several, calls * units)


def chains() -> dict[str, Work]:
    """Sweeps of the published machine: sixteen in one call, each with noise of its own."""
    spec, content = published("mnist-rbm", "sweep")
    found: dict[str, Work] = {
        CPU: partial(_iterate, OnnxSession(content, threads=1), spec),
        "unsigned": partial(_iterate, _PlainRuns(content), spec),
        "plain": partial(_iterate, _PlainRuns(with_signed_products(content).content), spec),
        "bound": partial(_iterate, _on_gpu(content, recording=False), spec),
        "graphs": partial(_iterate, _on_gpu(content, recording=True), spec),
    }
    if torch.cuda.is_available():
        found["torch"] = _TorchSweeps().run
    return found


def generators() -> dict[str, Work]:
    """Images of the published generator; in torch, of one of its size."""
    spec, content = published("mnist-dcgan", "generate")
    found: dict[str, Work] = {
        CPU: partial(_generate, OnnxSession(content, threads=1), spec),
        "plain": partial(_generate, _PlainRuns(content), spec),
        "bound": partial(_generate, _on_gpu(content, recording=False), spec),
        "graphs": partial(_generate, _on_gpu(content, recording=True), spec),
    }
    if torch.cuda.is_available():
        module = _untrained()
        script = to_torchscript(module, {"z": torch.zeros(2, spec.inputs[0].row_size)})
        session = TorchScriptSession(
            script, spec, device=DEVICE, example=random_rows(spec, 2), threads=1
        )
        found["torchscript graphs"] = partial(_generate, session, spec)
        found["torch"] = partial(_eager, module.to(DEVICE), spec)
    return found


def published(model: str, function: str) -> tuple[FunctionSpec, bytes]:
    """A function of a published package, and its graph."""
    directory = STORE / model / "1"
    spec = read_manifest(directory).functions[function]
    return spec, (directory / spec.file).read_bytes()


class _PlainRuns(OnnxSession):
    """`session.run` on the GPU: everything is sent and fetched with every run."""

    device = DEVICE

    def __init__(self, content: bytes) -> None:
        cuda = {"device_id": "0", "use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
        providers = [("CUDAExecutionProvider", cuda), "CPUExecutionProvider"]
        self._session = open_graph(content, options(1), providers)


def _on_gpu(content: bytes, *, recording: bool) -> Session:
    return cuda_session(content, device=DEVICE, threads=1, recording=recording)


def _iterate(session: Session, spec: FunctionSpec, n: int) -> int:
    feedback = {old.name: new.name for old, new in spec.state_pairs}
    inputs, noises = _sweep_inputs(spec, n)
    session.iterate(feedback, inputs, noises)
    return n * SWEEPS


@cache
def _sweep_inputs(spec: FunctionSpec, n: int) -> tuple[Arrays, list[Arrays]]:
    draw = np.random.default_rng(n)
    width = sum(t.row_size for t in spec.noises)
    integers = draw.integers(0, 65536, (SWEEPS, n, width), np.uint16)
    drawn = {t.name for t in spec.noises}
    inputs = {name: a for name, a in random_rows(spec, n).items() if name not in drawn}
    return inputs, [cut_noise(spec, sweep) for sweep in integers]


@cache
def _latents(spec: FunctionSpec, n: int) -> Arrays:
    return random_rows(spec, n)


def _generate(session: Session, spec: FunctionSpec, n: int) -> int:
    session.run(("x",), _latents(spec, n))
    return n


class _TorchSweeps:
    """float32 sweeps on the GPU with torch's own draws: nothing is sent, nothing is repeatable."""

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(0)
        self._rbm = Rbm(
            W=(0.15 * torch.randn(784, 500, generator=draw)).to(DEVICE),
            b=torch.randn(784, generator=draw).to(DEVICE),
            c=torch.randn(500, generator=draw).to(DEVICE),
        )

    def run(self, n: int) -> int:
        h = torch.zeros(n, 500, device=DEVICE)
        for _ in range(SWEEPS):
            v = torch.bernoulli(torch.sigmoid(self._rbm.visible_input(h)))
            h = torch.bernoulli(torch.sigmoid(self._rbm.hidden_input(v)))
        h.cpu()
        return n * SWEEPS


def _untrained() -> torch.nn.Module:
    """A generator of the published one's size: the work is the same, the images are not."""
    recipe = read_manifest(STORE / "mnist-dcgan/1").provenance["recipe"]
    shape = GanConfig.model_validate(recipe).shape((1, 28, 28))
    return plain(fold_batch_norm(seeded(lambda: Generator(shape), seed=0).eval()))


@torch.inference_mode()
def _eager(module: torch.nn.Module, spec: FunctionSpec, n: int) -> int:
    (z,) = _latents(spec, n).values()
    images: Tensor = module(torch.from_numpy(z).to(DEVICE))
    images.cpu()
    return n


if __name__ == "__main__":
    main()
