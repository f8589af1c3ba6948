"""A published package whose generator is TorchScript: `python -m training.torchscript PACKAGE`.

package with generate.torchscript.pt ──parity with its ONNX twin──► <name>-torchscript/<version>/

A recipe with `[export] torchscript = true` writes the file beside the ONNX graphs, for other
services. Here it takes their place: `generate`, and what shares its graph, are TorchScript; the
other functions stay as they are.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch

from service.contract import MANIFEST_FILE, PackageError, Role, write_package
from training.export import quiet
from training.gan_export import TORCHSCRIPT_FILE
from training.package import Package

PARITY_ROWS = 5
# float32 through a dozen layers, sums taken in another order; pixels are of order 1.
TOLERANCE = 1e-5


def republish(directory: Path, store: Path, *, name: str | None = None) -> Path:
    """Write the package under `store` again, with the TorchScript generator, as `name`.

    Args:
        directory: a package with the companion file generate.torchscript.pt.
        store: where to write.
        name: of the new package; left out, the old one followed by -torchscript.

    Raises:
        PackageError: there is no TorchScript file, or it differs from the ONNX graph.
    """
    package = Package(directory)
    manifest = package.manifest
    if TORCHSCRIPT_FILE not in manifest.files:
        raise PackageError(
            f"{manifest.id} has no {TORCHSCRIPT_FILE}: export it with [export] torchscript = true"
        )
    content = package.read(TORCHSCRIPT_FILE)
    _check_parity(package, content)
    generate, digests = manifest.functions["generate"], manifest.digests()
    changed = {"file": TORCHSCRIPT_FILE, "sha256": digests[TORCHSCRIPT_FILE]}
    functions = {
        key: spec.model_copy(update=changed) if spec.sha256 == generate.sha256 else spec
        for key, spec in manifest.functions.items()
    }
    files = {key: entry for key, entry in manifest.files.items() if key != TORCHSCRIPT_FILE}
    made = manifest.model_copy(
        update={
            "name": name or f"{manifest.name}-torchscript",
            "functions": functions,
            "files": files,
        }
    )
    return write_package(store, made, {file: package.read(file) for file in made.digests()})


def _check_parity(package: Package, content: bytes) -> None:
    """Both graphs on the same latents (and labels) must give the same pixels, up to rounding."""
    draw = np.random.default_rng(0)
    inputs: dict[str, np.ndarray[Any, Any]] = {}
    for tensor in package.manifest.functions["generate"].inputs:
        shape = (PARITY_ROWS, *tensor.row_shape)
        label = tensor.role is Role.LABEL
        inputs[tensor.name] = (
            np.zeros(shape, tensor.dtype) if label else draw.standard_normal(shape, np.float32)
        )
    with quiet(), torch.no_grad():
        module = torch.jit.load(io.BytesIO(content))  # type: ignore[no-untyped-call]
        ours = module(*(torch.from_numpy(array) for array in inputs.values())).numpy()
    (theirs,) = package.run("generate", **inputs).values()
    worst = float(np.abs(ours - theirs).max()) if ours.shape == theirs.shape else float("inf")
    if not worst <= TOLERANCE:
        raise PackageError(f"{TORCHSCRIPT_FILE} differs from the ONNX graph by {worst:.3g}")


def main() -> None:
    """Read the command line, and republish."""
    parser = argparse.ArgumentParser(description="A package whose generator is TorchScript.")
    parser.add_argument("package", type=Path, help="a package's folder, <name>/<version>")
    parser.add_argument("--store", type=Path, help="where to write; the package's own store")
    parser.add_argument("--name", help="of the new package; NAME-torchscript")
    given = parser.parse_args()
    if not (given.package / MANIFEST_FILE).is_file():
        parser.error(f"{given.package} is no package: it has no {MANIFEST_FILE}")
    try:
        made = republish(
            given.package, given.store or given.package.resolve().parents[1], name=given.name
        )
    except PackageError as error:
        parser.error(str(error))
    print(f"published: {made}")


if __name__ == "__main__":
    main()
