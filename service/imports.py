"""Bring your own generator: check an ONNX file, and write the manifest that it needs.

generator.onnx ──► names, types, dynamic batch ──► trial run: finite, in range ──► package

The file is any exported generator z → image. Its latent size and image shape are read off the
graph, and the range of its pixels is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.contract import (
    FunctionSpec,
    ImageData,
    Labels,
    Latent,
    Manifest,
    PackageError,
    Role,
    TensorSpec,
    sha256_of,
    write_package,
)
from service.domain import latent
from service.invariance import random_rows
from service.sessions import Session, TensorType
from service.sessions.onnx import OnnxSession

GRAPH_FILE = "generate.onnx"
_TRIAL_ROWS = 8
_KNOWN_RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
_SLACK = 0.02  # of the range: float rounding, or a last layer that is not quite bounded


@dataclass(frozen=True)
class Imported:
    """What was written, and what was found on the way, in sentences."""

    manifest: Manifest
    directory: Path
    findings: tuple[str, ...]


def add_generator(
    content: bytes,
    *,
    store: Path,
    name: str,
    version: int,
    prior: latent.Prior = "normal",
    description: str = "",
) -> Imported:
    """Check a generator and write it into `store` as a package.

    Raises:
        PackageError: says what is wrong with the graph and how to export it instead.
    """
    session = OnnxSession(content, threads=1)
    inputs, outputs = session.signature()
    z, label = _inputs(inputs)
    x = _output(outputs)
    spec = FunctionSpec(
        file=GRAPH_FILE,
        sha256=sha256_of(content),
        inputs=(z,) if label is None else (z, label),
        outputs=(x,),
    )
    pixels = _try(session, spec, x)
    shape = _image_shape(x.name, pixels.shape)
    spec = spec.model_copy(
        update={"outputs": (x.model_copy(update={"shape": ("n", *pixels.shape[1:])}),)}
    )
    low, high = _range(pixels)
    classes = _count_classes(session, spec, label)
    manifest = Manifest(
        name=name,
        version=version,
        family="gan",
        description=description or "A generator that was brought here as an ONNX file.",
        data=ImageData(shape=shape, range=(low, high)),
        latent=Latent(size=int(np.prod(z.row_shape)), prior=prior),
        labels=Labels(names=tuple(str(k) for k in range(classes))) if classes else None,
        functions={"generate": spec},
        provenance={"imported": True, "opaque_training": "not trained by this project"},
    )
    findings = (
        f"latent: {z.name!r}, {int(np.prod(z.row_shape))} numbers, {prior} prior",
        f"images: {x.name!r}, {'×'.join(map(str, shape))} (channels × height × width)",
        f"range: measured [{pixels.min():.3g}, {pixels.max():.3g}], taken as [{low:g}, {high:g}]",
        *((f"labels: {label.name!r}, classes 0 to {classes - 1}",) if label else ()),
        f"able to: {', '.join(manifest.capabilities)}",
        "unable to: inpaint, score, encode (they need functions that this file does not have)",
    )
    directory = write_package(store, manifest, {GRAPH_FILE: content})
    return Imported(manifest=manifest, directory=directory, findings=findings)


def _inputs(found: dict[str, TensorType]) -> tuple[TensorSpec, TensorSpec | None]:
    latents, labels = [], []
    for name, (dtype, shape) in found.items():
        if not shape or isinstance(shape[0], int):
            raise PackageError(
                f"input {name!r} has a fixed first axis {list(shape)}: export with a dynamic batch "
                "axis (torch.onnx.export(…, dynamic_shapes=…))"
            )
        sizes = tuple(size for size in shape[1:] if isinstance(size, int))
        if dtype == "float32" and sizes and len(sizes) == len(shape) - 1:
            latents.append(TensorSpec(name=name, dtype="float32", shape=("n", *sizes),
                                      role=Role.LATENT))  # fmt: skip
        elif dtype in {"int64", "int32"} and len(shape) == 1:
            labels.append(TensorSpec(name=name, dtype="int64" if dtype == "int64" else "int32",
                                     shape=("n",), role=Role.LABEL))  # fmt: skip
        else:
            raise PackageError(
                f"input {name!r} is {dtype} {list(shape)}: a generator takes float32 [n, latent] "
                "and, when conditional, integer labels [n]"
            )
    if len(latents) != 1 or len(labels) > 1:
        raise PackageError(
            f"{len(latents)} latent and {len(labels)} label inputs: a generator has one latent "
            "input and at most one of labels"
        )
    z = latents[0]
    if int(np.prod(z.row_shape)) != max(z.row_shape):
        raise PackageError(f"input {z.name!r} of {list(z.shape)} must have one axis above 1")
    return z, labels[0] if labels else None


def _output(found: dict[str, TensorType]) -> TensorSpec:
    floats = [name for name, (dtype, _) in found.items() if dtype == "float32"]
    if len(found) != 1 or not floats:
        raise PackageError(
            f"the graph has outputs {', '.join(found)}: a generator has one, float32 images"
        )
    return TensorSpec(name=floats[0], dtype="float32", shape=("n",), role=Role.DATA)


def _try(session: Session, spec: FunctionSpec, x: TensorSpec) -> np.ndarray:
    """Run a few rows, at two batch sizes."""
    try:
        pixels = session.run((x.name,), random_latents(spec, _TRIAL_ROWS))[x.name]
        single = session.run((x.name,), random_latents(spec, 1))[x.name]
    except Exception as error:  # the runtime has no common root for its many errors
        raise PackageError(
            "the graph does not run on batches of 1 and 8 rows: export a dynamic batch axis"
        ) from error
    if len(pixels) != _TRIAL_ROWS or len(single) != 1:
        raise PackageError("the graph does not give one image a row: check its batch axis")
    if not bool(np.isfinite(pixels).all()):
        raise PackageError("the graph gives values that are not finite for standard latents")
    return pixels


def random_latents(spec: FunctionSpec, rows: int) -> dict[str, np.ndarray]:
    """Prior draws for the latent input and zeros for labels."""
    inputs = random_rows(spec, rows)
    for t in spec.inputs:
        if t.role is Role.LATENT:
            flat = latent.draw(
                prior="normal", size=int(np.prod(t.row_shape)), seed=0, rows=range(rows)
            )
            inputs[t.name] = flat.reshape(rows, *t.row_shape)
    return inputs


def _image_shape(name: str, found: tuple[int, ...]) -> tuple[int, int, int]:
    shape = found[1:] if len(found) == 4 else (1, *found[1:]) if len(found) == 3 else ()
    if len(shape) != 3 or shape[0] not in {1, 3}:
        raise PackageError(
            f"output {name!r} is {['n', *found[1:]]}: images are [n, C, H, W] with 1 or 3 channels"
        )
    return shape[0], shape[1], shape[2]


def _range(pixels: np.ndarray) -> tuple[float, float]:
    low, high = float(pixels.min()), float(pixels.max())
    for known_low, known_high in _KNOWN_RANGES:
        slack = _SLACK * (known_high - known_low)
        if known_low - slack <= low and high <= known_high + slack:
            return known_low, known_high
    raise PackageError(
        f"pixels lie in [{low:.3g}, {high:.3g}], none of [0, 1], [-1, 1], [0, 255]: end the "
        "generator with a sigmoid or a tanh"
    )


def _count_classes(session: Session, spec: FunctionSpec, label: TensorSpec | None) -> int:
    """The labels that the graph accepts, found by trying: 0, 1, 2 … until it refuses."""
    if label is None:
        return 0
    inputs = random_latents(spec, 1)
    accepted = 0
    for candidate in range(1001):
        inputs[label.name] = np.full(1, candidate, inputs[label.name].dtype)
        try:
            session.run(tuple(t.name for t in spec.outputs), inputs)
        except Exception:  # noqa: BLE001  refusing is the answer that is looked for
            break
        accepted = candidate + 1
    if not 2 <= accepted <= 1000:
        raise PackageError("the number of classes cannot be found: labels are not bounded")
    return accepted
