"""Data sets as arrays: load by name or by path, hold some out, binarise.

name or {path = …} ──► load ──► Dataset [n, C, H, W] in [0, 1] ──► split_holdout ──► binarise

Everything random here takes its seed or its generator as an argument: the same seed gives the same
split and the same binarisation on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int64
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from training import data_files, data_sources
from training.planar import PLANAR_SETS, SEEDS, TEST_POINTS, TRAIN_POINTS, PlanarSet

Split = Literal["train", "test"]

# Seed of the test split of a custom data set: part of the data's definition, never of a run.
CUSTOM_SPLIT_SEED = 20_240_229


class DataConfig(BaseModel):
    """The `[data]` table of a recipe: a known name, or a path to images of your own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["mnist", "cifar10", "digits", "stacked-mnist", "ring", "grid"] | None = Field(
        None, description="A data set that the project knows; ring and grid are points."
    )
    path: Path | None = Field(
        None,
        description="A folder of PNG or JPEG files (sub-folders are labels), an .npz file with "
        "'images' and optionally 'labels', or a .parquet file with 'image' or 'img' and "
        "optionally 'label'.",
    )
    test_path: Path | None = Field(
        None, description="The same for the test split; else a tenth of `path` is set aside."
    )
    size: int | None = Field(
        None, ge=4, le=1024, description="Pixels a side: images of `path` are resized to it."
    )
    channels: Literal[1, 3] | None = Field(
        None, description="1 grey or 3 RGB; left out: what the first image of `path` has."
    )
    limit: int | None = Field(None, ge=1, description="Use only the first images of each split.")
    holdout: int = Field(
        5000,
        ge=0,
        description="Training images set aside for calibration and monitoring, 0 to n - 1.",
    )

    @model_validator(mode="after")
    def _is_one_source(self) -> DataConfig:
        if (self.name is None) == (self.path is None):
            raise ValueError("data wants either 'name' or 'path', and one of them only")
        if self.path is None and (self.test_path or self.size or self.channels):
            raise ValueError("'test_path', 'size' and 'channels' go with 'path', not with 'name'")
        return self

    @property
    def title(self) -> str:
        """What the data set is called in a card."""
        return self.name or (self.path.stem if self.path else "data")


@dataclass(frozen=True)
class Dataset:
    """Images with their labels, if there are any.

    Attributes:
        images: float32 [n, C, H, W] in [0, 1].
        labels: int64 [n], or None.
        name: what the data set is called.
    """

    images: Float[np.ndarray, "n C H W"]
    labels: Int64[np.ndarray, " n"] | None
    name: str

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """[C, H, W] of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def take(self, rows: slice | np.ndarray[Any, Any]) -> Dataset:
        """The rows that a slice, an index array or a Boolean mask selects."""
        labels = None if self.labels is None else self.labels[rows]
        return replace(self, images=self.images[rows], labels=labels)


def load(source: str | Mapping[str, Any] | DataConfig, split: Split = "train") -> Dataset:
    """Load one split of a data set.

    Args:
        source: a known name (`mnist`, `cifar10`, `digits`, `stacked-mnist`; `ring` and `grid`,
            whose points are images of two channels and one pixel), or a DataConfig or its fields.
        split: `train` or `test`.

    Raises:
        DataError: the source is not there, is damaged, or is not images.
    """
    config = _config_of(source)
    if split not in ("train", "test"):
        raise data_files.DataError(f"split {split!r} is neither 'train' nor 'test'")
    if config.name in PLANAR_SETS:
        return _load_points(PLANAR_SETS[config.name], split, limit=config.limit)
    if config.name is not None:
        raw = data_sources.load_named(config.name, split)
    else:
        raw = _load_custom(config, split)
    images, labels = raw
    if config.limit is not None:
        images, labels = (
            images[: config.limit],
            labels if labels is None else labels[: config.limit],
        )
    return Dataset(images=images.astype(np.float32) / 255.0, labels=labels, name=config.title)


def split_holdout(dataset: Dataset, n: int, seed: int) -> tuple[Dataset, Dataset]:
    """Split into (the rest, `n` held-out rows) by a seeded permutation.

    Raises:
        DataError: `n` is negative, or nothing would be left to train on.
    """
    if not 0 <= n < len(dataset):
        raise data_files.DataError(
            f"holdout={n} must lie in 0…{len(dataset) - 1}: {dataset.name} has no more images"
        )
    order = np.random.default_rng(seed).permutation(len(dataset))
    return dataset.take(np.sort(order[n:])), dataset.take(np.sort(order[:n]))


def binarise(
    images: Float[np.ndarray, "*shape"], generator: np.random.Generator
) -> Float[np.ndarray, "*shape"]:
    """Bernoulli draws: each pixel is 1 with its grey value as probability, else 0. float32."""
    return (generator.random(images.shape, dtype=np.float32) < images).astype(np.float32)


def _config_of(source: str | Mapping[str, Any] | DataConfig) -> DataConfig:
    if isinstance(source, DataConfig):
        return source
    fields = {"name": source} if isinstance(source, str) else dict(source)
    try:
        return DataConfig.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "data"
        raise data_files.DataError(f"{where}: {first['msg']}, not {first['input']!r}") from error


def _load_points(planar: PlanarSet, split: Split, *, limit: int | None) -> Dataset:
    n = TRAIN_POINTS if split == "train" else TEST_POINTS
    points, modes = planar.draw(n, seed=SEEDS[split])
    whole = Dataset(images=planar.to_unit(points), labels=modes, name=planar.name)
    return whole.take(slice(limit))


def _load_custom(config: DataConfig, split: Split) -> data_files.Arrays:
    assert config.path is not None
    if config.test_path is not None:
        chosen = config.path if split == "train" else config.test_path
        return data_files.read(chosen, size=config.size, channels=config.channels)
    images, labels = data_files.read(config.path, size=config.size, channels=config.channels)
    order = np.random.default_rng(CUSTOM_SPLIT_SEED).permutation(len(images))
    n_test = max(1, len(images) // 10)
    rows = np.sort(order[:n_test] if split == "test" else order[n_test:])
    if not len(rows):
        raise data_files.DataError(f"{config.path} has one image: too few for a train/test split")
    return images[rows], None if labels is None else labels[rows]
