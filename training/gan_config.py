"""The tables of a recipe with `kind = "gan"`: what they hold, and what is allowed.

[model], [train], [encoder], [inpaint], [export], [evaluate] ──► GanConfig
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from training.config import RecipeConfig, Table
from training.encoder import EncoderTraining
from training.gan import GanTraining
from training.latent_step import Descent
from training.networks import Shape


class ModelTable(Table):
    """`[model]`: the sizes that generator, discriminator and encoder share."""

    latent: int = Field(64, ge=2, le=4096, description="Numbers in z, standard normal.")
    width: int = Field(32, ge=4, le=512, description="Channels at half the resolution.")
    classes: int = Field(
        0, ge=0, le=1000, description="Labels to learn with; the first latents choose one. 0: none."
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
    """`[export]`: what is written beside the ONNX graphs."""

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
    judge: Literal["mnist"] = Field("mnist", description="Whose judge: training/judges.")
    seed: int = Field(1, ge=0, description="Of samples, anomalies and fillings.")

    def quick(self) -> EvaluateTable:
        """The same on a fifth of the images."""
        names = ("samples", "neighbours", "duplicates", "inpainted")
        fewer = {name: max(100, getattr(self, name) // 5) for name in names}
        return self.model_copy(update=fewer)


class GanConfig(RecipeConfig):
    """A recipe with `kind = "gan"`."""

    kind: Literal["gan"]
    model: ModelTable = ModelTable()
    train: GanTraining = GanTraining()
    encoder: EncoderTraining = EncoderTraining()
    inpaint: InpaintTable = InpaintTable()
    export: ExportTable = ExportTable()
    evaluate: EvaluateTable = EvaluateTable()

    @model_validator(mode="after")
    def _has_latents_to_choose_by(self) -> Self:
        if self.model.classes >= self.model.latent:
            raise ValueError(
                f"model.classes={self.model.classes} needs a larger model.latent than "
                f"{self.model.latent}"
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
        channels, height, width = data
        if height != width:
            raise ValueError(f"images of {height}×{width} are not square: set data.size")
        return Shape(
            channels=channels,
            side=height,
            latent=self.model.latent,
            width=self.model.width,
            classes=self.model.classes,
        )

    def trained_part(self) -> dict[str, object]:
        """What decides the players' weights: a run can be resumed only with the same."""
        return self.model_dump(
            mode="json", include={"kind", "name", "seed", "data", "model", "train"}
        )

    def encoder_part(self) -> dict[str, object]:
        """What decides the encoder's weights, beside the players'."""
        return self.model_dump(mode="json", include={"encoder"})
