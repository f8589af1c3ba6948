"""Tiny model packages for tests, built with onnx alone: real files, real digests, in milliseconds.

tiny-gan   a linear generator z [4] → x [1, 4, 4], with encoder, score and latent steps
tiny-rbm   a 16-6 machine whose chain functions are the real exported ones
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from service.contract import (
    Calibration,
    Defaults,
    FunctionSpec,
    ImageData,
    Latent,
    Manifest,
    Role,
    ScoreMethod,
    TensorSpec,
    sha256_of,
    write_package,
)
from training.boltzmann_graphs import rbm_functions
from training.package import Score, publish
from training.quantised import QuantisedRbm, quantise
from training.rbm import Rbm

SHAPE = (1, 4, 4)
PIXELS = 16
LATENT = 4
STEP = 0.1
_ONNX = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8, "uint16": TensorProto.UINT16,
         "int64": TensorProto.INT64}  # fmt: skip


def tensor(name: str, *sizes: int, role: Role, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=("n", *sizes), role=role)


def graph(nodes, inputs, outputs, constants) -> bytes:
    """A serialised model; inputs and outputs are TensorSpecs, constants are arrays by name."""
    values = [
        [helper.make_tensor_value_info(t.name, _ONNX[t.dtype], list(t.shape)) for t in side]
        for side in (inputs, outputs)
    ]
    made = helper.make_graph(
        nodes, "g", *values, [numpy_helper.from_array(a, n) for n, a in constants.items()]
    )
    model: ModelProto = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    )
    return model.SerializeToString()


def function(content: bytes, file: str, inputs, outputs, **more) -> FunctionSpec:
    return FunctionSpec(
        file=file, sha256=sha256_of(content), inputs=tuple(inputs), outputs=tuple(outputs), **more
    )


def weights() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    W = draw.standard_normal((LATENT, PIXELS)).astype(np.float32)
    return W, np.linalg.pinv(W).astype(np.float32)


def write_tiny_gan(store: Path, *, name: str = "tiny-gan", version: int = 1) -> Path:
    W, inverse = weights()
    node = helper.make_node
    z, x = tensor("z", LATENT, role=Role.LATENT), tensor("x", *SHAPE, role=Role.DATA)
    mask, noise = tensor("mask", *SHAPE, role=Role.MASK), tensor("noise", LATENT, role=Role.NOISE)
    state, following = (
        tensor("z", LATENT, role=Role.STATE),
        tensor("next_z", LATENT, role=Role.STATE),
    )
    code = tensor("code", LATENT, role=Role.HIDDEN)
    out = tensor("x", *SHAPE, role=Role.DATA)
    score = tensor("score", role=Role.SCORE)
    heatmap = tensor("heatmap", *SHAPE, role=Role.HEATMAP)
    image_shape = np.array([-1, *SHAPE], np.int64)
    flat_shape = np.array([-1, PIXELS], np.int64)

    to_image = [
        node("MatMul", ["z", "W"], ["a"]),
        node("Sigmoid", ["a"], ["s"]),
        node("Reshape", ["s", "image"], ["x"]),
    ]
    generate = graph(to_image, [z], [out], {"W": W, "image": image_shape})
    to_code = [
        node("Reshape", ["x", "flat"], ["f"]),
        node("Sub", ["f", "half"], ["d"]),
        node("MatMul", ["d", "V"], ["code"]),
    ]
    constants = {"flat": flat_shape, "half": np.float32([0.5]), "V": inverse}
    encode = graph(to_code, [x], [code], constants)
    judge = graph(
        [
            node("Sub", ["x", "half"], ["d"]),
            node("Mul", ["d", "d"], ["heatmap"]),
            node("Reshape", ["heatmap", "flat"], ["q"]),
            node("ReduceMean", ["q", "axes"], ["score"], keepdims=0),
        ],
        [x],
        [score, heatmap],
        {"half": np.float32([0.5]), "flat": flat_shape, "axes": np.int64([1])},
    )
    begin = graph(
        [
            node("Reshape", ["x", "flat"], ["f"]),
            node("Reshape", ["mask", "flat"], ["m"]),
            node("Mul", ["f", "m"], ["fm"]),
            node("Sub", ["f", "fm"], ["known"]),
            node("MatMul", ["known", "V"], ["c"]),
            node("Add", ["c", "noise"], ["next_z"]),
        ],
        [x, mask, noise],
        [following],
        {"flat": flat_shape, "V": inverse},
    )
    # One gradient step on ½‖(1 − mask)·(σ(zW) − x)‖² without σ's slope: enough to move downhill.
    advance = graph(
        [
            node("MatMul", ["z", "W"], ["a"]),
            node("Sigmoid", ["a"], ["s"]),
            node("Reshape", ["x", "flat"], ["f"]),
            node("Reshape", ["mask", "flat"], ["m"]),
            node("Sub", ["s", "f"], ["e"]),
            node("Mul", ["e", "m"], ["em"]),
            node("Sub", ["e", "em"], ["known"]),
            node("MatMul", ["known", "Wt"], ["g"]),
            node("Mul", ["g", "step"], ["gs"]),
            node("Sub", ["z", "gs"], ["next_z"]),
        ],
        [state, x, mask],
        [following],
        {"W": W, "Wt": W.T.copy(), "flat": flat_shape, "step": np.float32([STEP])},
    )
    held_out = np.linspace(0, 0.2, 99, dtype=np.float32)
    calibration = _npy(held_out)
    contents = {
        "generate.onnx": generate,
        "encode.onnx": encode,
        "score.onnx": judge,
        "latent_start.onnx": begin,
        "latent_step.onnx": advance,
        "calibration.npy": calibration,
    }
    manifest = Manifest(
        name=name,
        version=version,
        family="gan",
        description="A linear generator for tests.",
        data=ImageData(shape=SHAPE),
        latent=Latent(size=LATENT),
        functions={
            "generate": function(generate, "generate.onnx", [z], [out]),
            "encode": function(encode, "encode.onnx", [x], [code]),
            "score": function(judge, "score.onnx", [x], [score, heatmap]),
            "latent_start": function(begin, "latent_start.onnx", [x, mask, noise], [following]),
            "latent_step": function(
                advance, "latent_step.onnx", [state, x, mask], [following],
                kind="step", start="latent_start", readout="latent_readout",
            ),
            "latent_readout": function(generate, "generate.onnx", [state], [out]),
        },
        scores=(
            ScoreMethod(
                method="distance", function="score", output="score", heatmap="heatmap",
                calibration=Calibration(
                    file="calibration.npy", sha256=sha256_of(calibration), n=99, data="made up"
                ),
            ),
        ),
        defaults=Defaults(inpaint_steps=20),
    )  # fmt: skip
    return write_package(store, manifest, contents)


def _npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


VISIBLE, HIDDEN = PIXELS, 6


def tiny_rbm() -> QuantisedRbm:
    """A 16-6 machine with weights large enough to matter."""
    draw = np.random.default_rng(1)
    W, b, c = (
        draw.normal(0, s, n) for s, n in ((0.8, (VISIBLE, HIDDEN)), (0.5, VISIBLE), (0.5, HIDDEN))
    )
    tensors = (torch.tensor(a, dtype=torch.float32) for a in (W, b, c))
    return quantise(Rbm(*tensors), bits=8)


def write_tiny_rbm(store: Path, *, name: str = "tiny-rbm", version: int = 1) -> Path:
    rbm = tiny_rbm()
    functions = rbm_functions(rbm, base_bias=np.zeros(VISIBLE, np.float32), shape=SHAPE)
    return publish(
        store,
        name=name,
        version=version,
        family="rbm",
        description="A small machine for tests.",
        data=ImageData(shape=SHAPE),
        functions=functions,
        defaults=Defaults(burn_in=100, inpaint_steps=50),
        quality=(),
        provenance={},
        card="# tiny-rbm\n\nA small machine for tests.\n",
        preview=b"",
        scores=(
            Score(
                method="free_energy", function="score", output="free_energy", heatmap="heatmap",
                calibration=np.linspace(-20, 0, 99, dtype=np.float32), held_out="made up",
            ),
        ),
    )  # fmt: skip
