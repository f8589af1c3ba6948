"""How many row-sweeps a second, against batch size? `make bench BENCH=chains`

A 784-500 machine on one core: through the service's scheduler (noise and all), the exported graph
in a loop, numpy and torch in float32, and the arithmetic alone (two float32 products), which is the
roofline that a float sweep cannot pass.
"""

from __future__ import annotations

import asyncio
import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import argparse
from functools import partial

import numpy as np
import onnxruntime as ort
import torch

from benchmarks.harness import paired_ratio, report, take_turns, timed
from service.chains import ChainScheduler
from service.contract import FunctionSpec, sha256_of
from service.domain.arrays import Arrays
from service.domain.feeding import cut_noise
from service.domain.randomness import RowNoise, Stream
from service.invariance import Padding
from service.queries import Call
from service.slots import ChainJob
from training.boltzmann_graphs import rbm_functions
from training.package import Function
from training.quantised import quantise
from training.rbm import Rbm

VISIBLE, HIDDEN = 784, 500
ROW_SWEEPS = 6000  # of work a measurement


def machine() -> Rbm:
    """Weights of a trained machine's size; their values do not matter here."""
    draw = torch.Generator().manual_seed(0)
    return Rbm(
        W=0.15 * torch.randn(VISIBLE, HIDDEN, generator=draw),
        b=torch.randn(VISIBLE, generator=draw),
        c=torch.randn(HIDDEN, generator=draw),
    )


class Exported:
    """The exported sweep, as the service runs it."""

    def __init__(self, rbm: Rbm) -> None:
        functions = rbm_functions(
            quantise(rbm, bits=8), base_bias=np.zeros(VISIBLE), shape=(1, 28, 28)
        )
        function: Function = functions["sweep"]
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(function.graph, options)
        self.spec = FunctionSpec(
            kind="step", file="sweep.onnx", sha256=sha256_of(function.graph), exact=True,
            inputs=function.inputs, outputs=function.outputs, start="start", readout="readout",
        )  # fmt: skip

    def run(self, inputs: Arrays) -> Arrays:
        """One sweep."""
        return {"next_h": self._session.run(["next_h"], inputs)[0]}


def fixed(n: int) -> Arrays:
    """Nothing clamped, β = 1."""
    free = np.zeros((n, VISIBLE), bool)
    return {"clamp_mask": free, "clamp_values": free, "beta": np.ones((n, 1), np.float32)}


def through_the_scheduler(exported: Exported, n: int, sweeps: int) -> None:
    """A job of n rows through admission, slots, noise and retirement."""

    async def run() -> None:
        scheduler = ChainScheduler(
            "chains", exported.run, exported.spec, padding=Padding((), holds=True),
            slots=max(n, 1), max_queue_rows=100_000,
        )  # fmt: skip
        job = ChainJob(
            state={"h": np.zeros((n, HIDDEN), np.uint8)}, parameters=fixed(n), sweeps=sweeps,
            seed=1, rows=tuple(range(n)),
        )  # fmt: skip
        await scheduler.submit(job, Call.lasting(3600))
        await scheduler.close()

    asyncio.run(run())


def in_a_loop(exported: Exported, n: int, sweeps: int) -> None:
    """The graph and its noise, in process."""
    h, held = np.zeros((n, HIDDEN), np.uint8), fixed(n)
    width = VISIBLE + HIDDEN
    streams = [RowNoise(seed=1, row=i, stream=Stream.SWEEP, width=width) for i in range(n)]
    for start in range(0, sweeps, 16):
        drawn = np.stack([s.take(min(16, sweeps - start)) for s in streams], axis=1)
        for integers in drawn:
            h = exported.run({"h": h, **held, **cut_noise(exported.spec, integers)})["next_h"]


def in_numpy(W: np.ndarray, b: np.ndarray, c: np.ndarray, n: int, sweeps: int) -> None:
    """float32, with numpy's own uniforms."""
    draw = np.random.default_rng(1)
    h = np.zeros((n, HIDDEN), np.float32)
    for _ in range(sweeps):
        v = (draw.random((n, VISIBLE), np.float32) < 1 / (1 + np.exp(-(h @ W.T + b)))).astype("f4")
        h = (draw.random((n, HIDDEN), np.float32) < 1 / (1 + np.exp(-(v @ W + c)))).astype("f4")


def in_torch(rbm: Rbm, n: int, sweeps: int) -> None:
    """float32, eager, with torch.bernoulli."""
    h = torch.zeros(n, HIDDEN)
    for _ in range(sweeps):
        v = torch.bernoulli(torch.sigmoid(rbm.visible_input(h)))
        h = torch.bernoulli(torch.sigmoid(rbm.hidden_input(v)))


def arithmetic_alone(W: np.ndarray, n: int, sweeps: int) -> None:
    """Two float32 products a sweep."""
    h, Wt = np.ones((n, HIDDEN), np.float32), np.ascontiguousarray(W.T)
    for _ in range(sweeps):
        (h @ Wt) @ W


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 16, 64, 256])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rbm = machine()
    W, b, c = (t.numpy() for t in (rbm.W, rbm.b, rbm.c))
    exported = Exported(rbm)
    rows = []
    for n in arguments.rows:
        sweeps = max(ROW_SWEEPS // n, 20)
        work = n * sweeps
        rates = take_turns(
            {
                "sgemm": timed(partial(arithmetic_alone, W, n, sweeps), work),
                "scheduler": timed(partial(through_the_scheduler, exported, n, sweeps), work),
                "graph": timed(partial(in_a_loop, exported, n, sweeps), work),
                "numpy": timed(partial(in_numpy, W, b, c, n, sweeps), work),
                "torch": timed(partial(in_torch, rbm, n, sweeps), work),
            },
            rounds=arguments.rounds,
        )
        row: dict[str, object] = {"case": f"{n} rows"}
        for name, found in rates.items():
            row[f"{name}/s"] = round(sorted(found)[len(found) // 2])
        row["scheduler ÷ graph"] = paired_ratio(rates["scheduler"], rates["graph"])
        for name in ("scheduler", "numpy", "torch"):
            row[f"{name} ÷ sgemm"] = paired_ratio(rates[name], rates["sgemm"])
        rows.append(row)
    report("chains", "Row-sweeps a second, 784-500, one core", rows)


if __name__ == "__main__":
    main()
