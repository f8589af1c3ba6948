"""A process that makes one order, for a benchmark to weigh; and a generator of nearly no cost.

python -m benchmarks.load.orders … ──► an order in a folder that goes away ──► JSON: what it took
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from service.augmentation.asking import PinnedModels
from service.augmentation.backends.local import LocalBackend
from service.augmentation.destination import LocalFolder
from service.augmentation.folder import OrderFolder
from service.augmentation.intake import take_in
from service.augmentation.resolve import Asked
from service.augmentation.runner import Fulfilment, Writing
from service.engine import open_engine
from service.queries import Call
from service.settings import Settings

LATENT, SHAPE = 4, (1, 4, 4)


def cost(**asked: object) -> dict[str, float]:
    """Make an order in a process of its own: `cpu_s`, `bytes` of its files, `peak_bytes` held.

    The peak is the largest resident set, every page of a mapped file counted: what the process
    would hold were no other there. A share of such pages would grow when another program ends.
    """
    command = [sys.executable, "-m", "benchmarks.load.orders"]
    for name, value in asked.items():
        if value is not None:
            command += [f"--{name.replace('_', '-')}", str(value)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    found: dict[str, float] = json.loads(said.splitlines()[-1])
    return found


async def make_one(options: argparse.Namespace) -> dict[str, float]:
    """An order in a folder that goes away; what it took."""
    settings = Settings(_env_file=None, models_store=Path(options.store), device="cpu", pool_rows=0)
    engine = await open_engine(settings, only=options.model)
    chain = "sweep" in engine.registry.get(options.model).manifest.functions
    asked = Asked(
        model=options.model, n=options.n, seed=7, format=options.format, dtype=options.dtype,
        burn_in=options.burn_in if chain else None, chunk_rows=options.chunk_rows, report=False,
    )  # fmt: skip
    taken = await take_in(asked, engine, engine, Call.lasting(60))
    began = time.process_time()
    writing = Writing()
    with tempfile.TemporaryDirectory() as out:
        folder = OrderFolder(taken.order, LocalFolder(Path(out)))
        backend = LocalBackend(folder, PinnedModels([engine], taken.order), writing=writing)
        await Fulfilment(folder, backend, writing=writing).run()
        took = time.process_time() - began
        size = sum(file.stat().st_size for file in Path(out).glob("data/*"))  # noqa: ASYNC240
    writing.shutdown()
    await engine.stop()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"cpu_s": took, "bytes": size, "peak_bytes": peak}


def tiny_generator() -> bytes:
    """z [n, 4] → sigmoid(zW) as x [n, 1, 4, 4]."""
    weights = np.random.default_rng(0).standard_normal((LATENT, 16)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["z", "W"], ["a"]),
        helper.make_node("Sigmoid", ["a"], ["s"]),
        helper.make_node("Reshape", ["s", "shape"], ["x"]),
    ]
    made = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", LATENT])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *SHAPE])],
        [
            numpy_helper.from_array(weights, "W"),
            numpy_helper.from_array(np.array([-1, *SHAPE], np.int64), "shape"),
        ],
    )
    opset = [helper.make_opsetid("", 18)]
    content: bytes = helper.make_model(made, opset_imports=opset, ir_version=9).SerializeToString()
    return content


def main() -> None:
    """Make the order, and say what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--store", required=True)
    parser.add_argument("--n", type=int, required=True)
    parser.add_argument("--format", default="parquet")
    parser.add_argument("--dtype")
    parser.add_argument("--burn-in", type=int)
    parser.add_argument("--chunk-rows", type=int)
    print(json.dumps(asyncio.run(make_one(parser.parse_args()))))


if __name__ == "__main__":
    main()
