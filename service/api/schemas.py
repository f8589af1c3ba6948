"""What a request may say, operation by operation: pydantic at the edge, frozen queries inside.

document ──validated──► …Request ──query(model, limits)──► service.queries.…

Arrays stay out of pydantic: `arrays.py` reads them once, straight to float32.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service import queries
from service.api import arrays, tables
from service.api.fields import (
    Conditions,
    Frames,
    ImageArray,
    Labels,
    LatentArrays,
    Rows,
    Seed,
    Sweeps,
    class_indices,
    feature_size,
    image_shape,
)
from service.api.inpainting import InpaintRequest
from service.api.requests import ImagesRequest, Request
from service.contract import Manifest, TableData
from service.errors import InvalidInput, MissingCapability
from service.settings import Settings

__all__ = [
    "ClassifyRequest",
    "EncodeRequest",
    "InpaintRequest",
    "InterpolateRequest",
    "ReconstructRequest",
    "Request",
    "SampleRequest",
    "ScoreRequest",
]


class SampleRequest(Request):
    """`n` draws from the model."""

    n: Rows | None = Field(None, description="How many; default 1, or one a latent.")
    seed: Seed | None = Field(
        None, description="The same seed gives the same bytes; none: one is drawn."
    )
    labels: Labels = Field(
        None, description="Conditional models: one class for all, or n; indices or names."
    )
    conditions: Conditions = Field(
        None, description="Tables: values that every row has, by column."
    )
    latents: LatentArrays = Field(None, description="[n, latent], GANs: instead of a seed.")
    truncation: float | None = Field(None, gt=0, le=1, description="GANs: ψ, 1 for none.")
    temperature: float | None = Field(
        None, gt=0, le=1000, description="Energy models: T = 1/β, 1 for the model itself."
    )
    burn_in: Sweeps | None = Field(None, description="Energy models: sweeps from a random start.")
    start: Literal["fresh", "pool"] | None = Field(
        None, description="Energy models: a new chain, or the persistent ones."
    )
    values: Literal["mean", "sample"] = Field(
        "mean", description="Energy models: probabilities of the last sweep, or 0/1 draws."
    )

    def query(self, manifest: Manifest, settings: Settings) -> queries.Sample:
        """See `Request.query`."""
        n, latents = self.n or 1, None
        if self.latents is not None:
            latents = arrays.latents(
                self.latents,
                size=manifest.latent.size if manifest.latent else None,
                limit=settings.max_rows,
                pointer="/latents",
            )
            if self.n not in {None, len(latents)}:
                raise InvalidInput(f"n={n}, but there are {len(latents)} latents", pointer="/n")
            n = len(latents)
        if self.start == "pool" and self.seed is not None:
            raise InvalidInput(
                "start='pool' takes chains as they are and cannot be seeded; leave out one of "
                "start and seed",
                pointer="/start",
            )
        return queries.Sample(
            n=n,
            seed=self.seed,
            labels=class_indices(self.labels, manifest),
            conditions=self._conditions(manifest),
            latents=latents,
            truncation=self.truncation,
            temperature=self.temperature,
            burn_in=self.burn_in,
            start=self.start,
            values=self.values,
        )

    def _conditions(self, manifest: Manifest) -> tuple[tuple[int, float], ...]:
        if self.conditions is None:
            return ()
        table = manifest.data
        if not isinstance(table, TableData):
            raise InvalidInput(
                f"{manifest.id} makes images, which have no columns: leave conditions out",
                pointer="/conditions",
            )
        if "inpaint" not in manifest.capabilities:
            raise MissingCapability(f"{manifest.id} takes no conditions")
        return tables.read_conditions(self.conditions, table=table)


class PointRequest(BaseModel):
    """One point of a path: `{seed, row?}`, `{latent}` or `{image}`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    seed: Seed | None = None
    row: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = Field(None, description="Default 0.")
    latent: LatentArrays = Field(None, description="[latent], or hidden features from `encode`")
    image: ImageArray = None

    def point(self, manifest: Manifest, *, pointer: str) -> queries.Point:
        """The point, with its array read."""
        given = [name for name in ("seed", "latent", "image") if getattr(self, name) is not None]
        if len(given) != 1 or (self.row is not None and given != ["seed"]):
            raise InvalidInput(
                "a point is one of {seed, row?}, {latent} and {image}", pointer=pointer
            )
        if self.seed is not None:
            return queries.SeedPoint(seed=self.seed, row=self.row or 0)
        if self.latent is not None:
            found = arrays.latents(
                self.latent, size=feature_size(manifest), limit=1, pointer=f"{pointer}/latent"
            )
            return queries.LatentPoint(found[0])
        shape = image_shape(manifest)
        return queries.ImagePoint(arrays.image(self.image, shape=shape, pointer=f"{pointer}/image"))


class InterpolateRequest(Request):
    """A path through the latent space, or a grid between four corners."""

    points: list[PointRequest] = Field(min_length=2, description="Two or more; for a grid four.")
    frames: Frames | None = Field(None, description="All together, ends included; default 16.")
    method: Literal["slerp", "lerp"] | None = Field(
        None, description="Default: slerp for Gaussian latents, else lerp."
    )
    loop: bool = Field(default=False, description="Back to the first point at the end.")
    labels: Labels = Field(None, description="Conditional models: the class, index or name.")
    grid: Annotated[list[Annotated[int, Field(ge=2)]], Field(min_length=2, max_length=2)] | None = (
        Field(None, description="[rows, columns], with four points as corners.")
    )

    def query(self, manifest: Manifest, settings: Settings) -> queries.Interpolate:
        """See `Request.query`."""
        if len(self.points) > settings.max_frames:
            raise InvalidInput(
                f"{len(self.points)} points exceed {settings.max_frames}", pointer="/points"
            )
        if self.grid is not None and self.frames is not None:
            raise InvalidInput(
                "grid says how many frames there are; leave frames out", pointer="/frames"
            )
        return queries.Interpolate(
            points=tuple(
                point.point(manifest, pointer=f"/points/{i}") for i, point in enumerate(self.points)
            ),
            frames=self.frames or max(16, len(self.points)),
            method=self.method,
            loop=self.loop,
            labels=class_indices(self.labels, manifest),
            grid=None if self.grid is None else (self.grid[0], self.grid[1]),
        )


class ScoreRequest(ImagesRequest):
    """Images whose unusualness is asked for."""

    explain: bool = Field(default=False, description="Also a heat map an image.")
    alpha: float = Field(0.05, gt=0, lt=1, description="The share of normal data to be flagged.")
    method: str | None = Field(None, description="Default: the model's first; its page lists them.")

    def query(self, manifest: Manifest, settings: Settings) -> queries.Score:
        """See `Request.query`."""
        return queries.Score(
            images=self.images_for(manifest, settings),
            explain=self.explain,
            alpha=self.alpha,
            method=self.method,
        )


class EncodeRequest(ImagesRequest):
    """Images whose latent or hidden features are asked for."""

    def query(self, manifest: Manifest, settings: Settings) -> queries.Encode:
        """See `Request.query`."""
        return queries.Encode(images=self.images_for(manifest, settings))


class ReconstructRequest(ImagesRequest):
    """Images that the model is to draw again."""

    def query(self, manifest: Manifest, settings: Settings) -> queries.Reconstruct:
        """See `Request.query`."""
        return queries.Reconstruct(images=self.images_for(manifest, settings))


class ClassifyRequest(ImagesRequest):
    """Images whose class is asked for."""

    def query(self, manifest: Manifest, settings: Settings) -> queries.Classify:
        """See `Request.query`."""
        return queries.Classify(images=self.images_for(manifest, settings))
