"""The reference of a package: real examples that its orders are reported on beside.

training set, test set ──seeded choice──► reference ──► the same package, with it

A published package is given one without being trained or exported again: its digest, and so its
seeds, stay as they are.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from service.contract import (
    MANIFEST_FILE,
    Reference,
    read_manifest,
    read_package,
    read_verified,
    sha256_of,
    write_package,
)
from training.config import BareRecipe, ConfigError, Recipe, RecipeConfig, validate
from training.data import Dataset, load
from training.judge import JUDGES

MOST_BYTES = 1_500_000
ROWS = 2000  # of training and of held-out rows each; half as many to test classifiers on
SEED = 20_261_123  # part of what a reference is, never of a run
LEAST_TEST = 3  # rows, so that some are held out and some are left
Rows = Int64[np.ndarray, " n"]


def referenced(package: Path) -> Path:
    """A published package, written anew with a reference, by the recipe in its provenance.

    Raises:
        ConfigError: it names no recipe, or its kind gets no reference.
        PackageError: the package is damaged.
    """
    manifest = read_manifest(package)
    recorded = manifest.provenance.get("recipe")
    if not isinstance(recorded, dict):
        raise ConfigError(f"{manifest.id} names no recipe in its provenance: it was not made here")
    recipe, config = validate(recorded, where=manifest.id)
    if recipe.training_set is None and recipe.reference is None:
        raise ConfigError(f"{manifest.id}: models of kind {config.kind!r} get no reference")
    return give_reference(package, recipe, config, asked=True)


def give_reference(
    package: Path, recipe: Recipe, config: BareRecipe, *, asked: bool = False
) -> Path:
    """Write a package anew with a reference; as it is, if its kind of model gets none.

    Rows of a table that is not known to be public are published only if that is `asked` for.

    Held-out rows are of the test split, which neither generator nor judge has seen.

    Raises:
        ConfigError: the test split has too few rows.
        PackageError: the package is damaged.
    """
    made = _made(recipe, config, package, asked=asked)
    if made is None:
        return package
    content, reference = made
    manifest = read_package(package)
    contents = {name: read_verified(package, name, d) for name, d in manifest.digests().items()}
    contents[reference.file] = content
    assert MANIFEST_FILE not in contents
    with_it = manifest.model_copy(update={"reference": reference})
    return write_package(package.parent.parent, with_it, contents)


def _made(
    recipe: Recipe, config: BareRecipe, package: Path, *, asked: bool
) -> tuple[bytes, Reference] | None:
    """The reference of this kind of model."""
    if recipe.reference is not None:
        return recipe.reference(config, package, asked)
    if recipe.training_set is None or not isinstance(config, RecipeConfig):
        return None
    train, test = recipe.training_set(config), load(config.data, "test")
    judge = f"{config.data.title}-judge"
    known = (JUDGES / f"{config.data.title}.safetensors").exists()
    return bounded_reference(train, test, judge=judge if known else None)


def bounded_reference(
    train: Dataset, test: Dataset, *, judge: str | None, most_bytes: int = MOST_BYTES
) -> tuple[bytes, Reference]:
    """`reference_of`, with as many rows as fit: a package is copied to wherever it is served.

    Raises:
        ConfigError: fewer than three test images.
    """
    content, reference = reference_of(train, test, judge=judge)
    if len(content) <= most_bytes:
        return content, reference
    rows = max(reference.train * most_bytes // len(content), 1)
    return reference_of(train, test, judge=judge, rows=rows)


def reference_of(
    train: Dataset, test: Dataset, *, judge: str | None, rows: int = ROWS
) -> tuple[bytes, Reference]:
    """The file, and what the manifest says of it.

    Raises:
        ConfigError: fewer than three test images.
    """
    if len(test) < LEAST_TEST:
        raise ConfigError(f"{test.name} has {len(test)} test images, too few for a reference")
    seen, held_out, tested = chosen_rows(len(train), len(test), rows)
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for part, data, chosen in (
        ("train", train, seen),
        ("held_out", test, held_out),
        ("test", test, tested),
    ):
        arrays |= _part(part, data, chosen)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    content = buffer.getvalue()
    words = (
        f"{train.name}: {len(seen):,} of the {len(train):,} images that it was trained on, and "
        f"{len(held_out) + len(tested):,} of the {len(test):,} test images"
    )
    return content, Reference(
        sha256=sha256_of(content),
        train=len(seen),
        held_out=len(held_out),
        test=len(tested),
        population=len(train),
        data=words,
        judge=judge,
    )


def chosen_rows(train: int, test: int, rows: int) -> tuple[Rows, Rows, Rows]:
    """Which of so many rows a reference has, in order: to train on, held out, to test on.

    Held-out rows are of the test split, too: neither training nor the choice of its step has seen
    them.
    """
    held = min(rows, test * 2 // 3)
    tested = min(rows // 2, test - held)
    order = np.random.default_rng(SEED).permutation(test)
    seen = np.random.default_rng(SEED).permutation(train)[:rows]
    return np.sort(seen), np.sort(order[:held]), np.sort(order[held : held + tested])


def _part(name: str, data: Dataset, rows: Rows) -> dict[str, Any]:
    pixels = np.rint(data.images[rows] * 255.0).astype(np.uint8)
    if data.labels is None:
        return {f"{name}_images": pixels}
    labels = np.array([str(label) for label in data.labels[rows].tolist()])
    return {f"{name}_images": pixels, f"{name}_labels": labels}
