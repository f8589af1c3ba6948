"""The tables of a recipe with `kind = "gan"`: what they hold, and what is allowed.

[model], [train], [encoder], [reader], [inpaint], [export], [evaluate] ──► GanConfig
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from training.config import RecipeConfig, Table
from training.encoder import EncoderChoices, EncoderTraining
from training.gan_options import GanTraining, Remedies
from training.latent_step import Descent
from training.reader import ReaderChoices, ReaderTraining
from training.shapes import LabelHead, Network, Norm, Shape


class Kinds(Table):
    """Choices of `[model]` that are left out of a run's record where they are not made."""

    network: Network = Field(
        "dcgan", description="What both players are made of; see training/bodies.py."
    )
    depth: int = Field(3, ge=1, le=20, description="Hidden layers of an MLP.")
    generator_labels: Literal["latents", "concatenation"] = Field(
        "latents",
        description="How the generator is told a class: the first latents choose it, or the label "
        "is an input that joins z.",
    )
    discriminator_labels: LabelHead = Field(
        "projection", description="One logit a class, or the label joins D's last features."
    )
    generator_norm: Norm = Field("batch", description="After the generator's hidden layers.")
    discriminator_norm: Norm = Field(
        "none", description="After D's; 'batch' goes with no gradient penalty."
    )


class ModelTable(Kinds):
    """`[model]`: the sizes that generator, discriminator and encoder share."""

    latent: int = Field(64, ge=2, le=4096, description="Numbers in z, standard normal.")
    width: int = Field(32, ge=4, le=512, description="Channels at half the resolution.")
    classes: int = Field(
        0, ge=0, le=1000, description="Labels to learn with, see generator_labels. 0: none."
    )

    def shape(self, data: tuple[int, int, int]) -> Shape:
        """The networks' sizes for images of [C, H, W].

        Raises:
            ValueError: the images are not square, or not of 28, 32 or 64 pixels.
        """
        channels, height, width = data
        if height != width:
            raise ValueError(f"images of {height}×{width} are not square: set data.size")
        return Shape(
            channels=channels,
            side=height,
            latent=self.latent,
            width=self.width,
            network=self.network,
            depth=self.depth,
            classes=self.classes,
            labelled=self.generator_labels != "latents",
            discriminator_labels=self.discriminator_labels,
            generator_norm=self.generator_norm,
            discriminator_norm=self.discriminator_norm,
        )


class InpaintTable(Table):
    """`[inpaint]`: how z descends when a part of an image is to be filled in."""

    steps: int = Field(25, ge=0, le=1000, description="Steps of a request that does not ask.")
    rate: float = Field(0.05, gt=0, description="Adam's, in standard deviations of the latent.")
    prior: float = Field(0.5, ge=0, description="Weight of ½‖z‖².")
    realism: float = Field(0.0, ge=0, description="Weight of softplus(−D(G(z))).")
    spread: float = Field(0.1, ge=0, description="Noise on the start, so that fillings differ.")

    def descent(self) -> Descent:
        """The same for `LatentStep`."""
        return Descent(rate=self.rate, prior=self.prior, realism=self.realism, spread=self.spread)


class ExportTable(Table):
    """`[export]`: what the graphs' weights are, and what is written beside them."""

    weights: Literal["float16", "float32"] = Field(
        "float16",
        description="float16: weights are rounded to its numbers and take half the bytes; the "
        "graphs compute in float32 either way.",
    )
    torchscript: bool = Field(
        default=False, description="Also write generate.torchscript.pt; deprecated upstream."
    )
    truncation: float | None = Field(
        None, gt=0, le=1, description="ψ of a request that does not ask; none is 1."
    )


class EvaluateTable(Table):
    """`[evaluate]`: how much work stands behind the figures."""

    samples: int = Field(10_000, ge=100, description="Generated images, and real ones beside them.")
    neighbours: int = Field(5000, ge=100, description="Images for precision, recall and the like.")
    duplicates: int = Field(
        2000, ge=10, description="Images whose nearest training image is found."
    )
    inpainted: int = Field(500, ge=8, description="Test images with their centre removed.")
    judge: Literal["mnist", "cifar10"] = Field(
        "mnist", description="Whose judge: training/judges. It is left out for other images."
    )
    seed: int = Field(1, ge=0, description="Of samples, anomalies and fillings.")

    def quick(self) -> EvaluateTable:
        """The same on a fifth of the images."""
        names = ("samples", "neighbours", "duplicates", "inpainted")
        fewer = {name: max(100, getattr(self, name) // 5) for name in names}
        return self.model_copy(update=fewer)


class GanConfig(RecipeConfig):
    """A recipe with `kind = "gan"`."""

    kind: Literal["gan"]
    start: str = Field(
        "",
        description="A run, beside this one, whose players are where this one begins; none: fresh.",
    )
    model: ModelTable = ModelTable()
    train: GanTraining = GanTraining()
    encoder: EncoderTraining = EncoderTraining()
    reader: ReaderTraining = ReaderTraining()
    inpaint: InpaintTable = InpaintTable()
    export: ExportTable = ExportTable()
    evaluate: EvaluateTable = EvaluateTable()

    @model_validator(mode="after")
    def _has_latents_to_choose_by(self) -> Self:
        if self.model.generator_labels != "latents":
            if self.model.classes < 2:
                raise ValueError(
                    f"model.generator_labels={self.model.generator_labels!r} wants classes, not "
                    f"model.classes={self.model.classes}"
                )
        elif self.model.classes >= self.model.latent:
            raise ValueError(
                f"model.classes={self.model.classes} needs a larger model.latent than "
                f"{self.model.latent}"
            )
        return self

    @model_validator(mode="after")
    def _descends_by_rows_alone(self) -> Self:
        mixed = self.train.minibatch_std or self.train.minibatch_discrimination
        if self.inpaint.realism > 0 and (mixed or self.model.discriminator_norm == "batch"):
            raise ValueError(
                f"inpaint.realism={self.inpaint.realism:g} asks a discriminator that looks at the "
                "whole batch: set it to 0"
            )
        return self

    @model_validator(mode="after")
    def _holds_enough_out(self) -> Self:
        if self.data.holdout < 20:
            raise ValueError(
                f"data.holdout={self.data.holdout} is too few: one half chooses the generator, the "
                "other calibrates the scores; give 20 or more"
            )
        return self

    def shape(self, data: tuple[int, int, int]) -> Shape:
        """The networks' sizes for images of [C, H, W].

        Raises:
            ValueError: the images are not square, or not of 28, 32 or 64 pixels.
        """
        return self.model.shape(data)

    def trained_part(self) -> dict[str, object]:
        """What decides the players' weights: a run can be resumed only with the same.

        A choice that was not made is not named, so that runs from before it was there go on.
        """
        part = self.model_dump(
            mode="json", include={"kind", "name", "seed", "data", "model", "train"}
        )
        begun = {"start": self.start} if self.start else {}
        return (
            part
            | begun
            | {
                "model": without_defaults(self.model, Kinds),
                "train": without_defaults(self.train, Remedies),
            }
        )

    def encoder_part(self) -> dict[str, object]:
        """What decides the encoder's weights, beside the players'."""
        return {"encoder": without_defaults(self.encoder, EncoderChoices)}

    def reader_part(self) -> dict[str, object]:
        """What decides the reader's weights."""
        part = self.model_dump(
            mode="json", include={"seed": True, "data": True, "model": {"classes"}}
        )
        return part | {"reader": without_defaults(self.reader, ReaderChoices)}


def without_defaults(table: Table, choices: type[Table]) -> dict[str, object]:
    """The table as JSON, without the fields of `choices` that have their default."""
    dump: dict[str, object] = table.model_dump(mode="json")
    same = choices().model_dump(mode="json")
    return {key: value for key, value in dump.items() if key not in same or same[key] != value}
