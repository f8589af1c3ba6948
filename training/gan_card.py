"""The card of a GAN's package: what it is, how it was made, what it is worth.

GanConfig, Trained, figures ──► gan_card ──► Markdown
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from service.contract import Quality
from training.card import ModelCard, Picture, duration, write_card
from training.data import Dataset
from training.gan_config import GanConfig
from training.networks import Discriminator, Encoder, Shape, count_parameters

SHEET_SIDE = 10


@dataclass(frozen=True)
class Trained:
    """A finished training: networks without batch norm, what they cost, and their data."""

    generator: nn.Module
    discriminator: Discriminator
    encoder: Encoder
    shape: Shape
    steps: int
    best_step: int
    seconds: float
    train: Dataset
    calibration: Dataset
    origin: Mapping[str, Any] = field(default_factory=dict)


def summary(config: GanConfig, trained: Trained) -> str:
    """What the package is, in one sentence."""
    return (
        f"A convolutional GAN on {config.data.title}, {config.model.latent} latents, "
        f"{count_parameters(trained.generator):,} parameters: samples, interpolation, an encoder, "
        "izi_f anomaly scores, and inpainting by latent descent."
    )


def gan_card(
    config: GanConfig,
    trained: Trained,
    figures: Sequence[Quality],
    facts: dict[str, Any],
    *,
    drawn: Sequence[str],
) -> str:
    """The card, with those of its two pictures that were drawn."""
    captions = {
        "preview.png": (
            f"Samples of seed {config.seed}, rows 0 to {SHEET_SIDE**2 - 1}; none chosen."
        ),
        "inpainting.png": (
            "Held-out images; the same without their centre; five fillings each, "
            f"{config.inpaint.steps} steps of latent descent. None chosen."
        ),
    }
    pictures = [Picture(file, captions[file]) for file in captions if file in drawn]
    return write_card(
        ModelCard(
            title=f"{config.name} {config.version}",
            summary=summary(config, trained),
            uses=(
                "Sampling, interpolation, inpainting and anomaly scores for images like these.",
                "Examples and tests of the service: small, fast, and the same bytes for a seed.",
            ),
            limits=(
                _looks(config),
                _labels(config),
                "`reconstruct` gives an image that the generator can make, not a copy.",
                "A p-value says how unusual a score is among held-out training images, not why.",
            ),
            training_data=_data(config, trained),
            training=_how(config, trained),
            quality=figures,
            pictures=pictures or [Picture("preview.png", "A held-out training image.")],
            provenance=facts,
            notes={"The functions": _notes(config)},
        )
    )


def _data(config: GanConfig, trained: Trained) -> str:
    held = len(trained.calibration)
    return (
        f"{config.data.title}: {len(trained.train):,} images to train on; of the "
        f"{config.data.holdout:,} held out by seed {config.seed}, {config.data.holdout - held:,} "
        f"chose the step to keep and {held:,} calibrate the scores. The test images were used for "
        "the figures below alone, once training was over."
    )


def _how(config: GanConfig, trained: Trained) -> str:
    t = config.train
    knew = (
        f"The players knew the {config.model.classes} labels: D judges an image as one of its "
        "class, and a pair shares its class. "
        if config.model.classes
        else ""
    )
    begun = trained.origin
    from_players = (
        f"The players began as those of {begun['run']}, after its {begun['step']:,} steps and "
        f"{duration(begun['seconds'])}. "
        if begun
        else ""
    )
    return (
        f"{from_players}{knew}"
        f"Loss: {t.loss}; R₁ γ {t.gamma_real:g} and R₂ γ {t.gamma_fake:g}, falling to "
        f"{t.final_gamma:g} of it, every {t.penalty_every} steps. Adam, β₁ {t.beta1:g}, "
        f"β₂ {t.beta2:g}, rate {t.learning_rate:g} falling to {t.final_rate:g} of it; batch "
        f"{t.batch}; convolutions in {t.precision}. The generator is an exponential average "
        f"(decay {t.average:g}); of {trained.steps:,} steps, step {trained.best_step:,} had the "
        f"least Fréchet distance to the selection images. {duration(trained.seconds)}. Then the "
        f"encoder: {config.encoder.steps:,} steps, κ {config.encoder.kappa:g}, random masks."
        f"{_reading(config)}"
    )


def _reading(config: GanConfig) -> str:
    if config.model.generator_labels == "latents":
        return ""
    how = config.reader
    bent = "turned, stretched and bent a little, " if how.bend else ""
    mean = (
        f" Its weights are their mean over {how.average_epochs} more epochs, of images as they "
        f"are, at a rate of {how.average_rate:g}."
        if how.average_epochs
        else ""
    )
    return (
        f" The class is read by a network of its own: {how.epochs} epochs of training images, "
        f"{bent}under random masks, of which {how.centre:.0%} are the central square.{mean}"
    )


def _looks(config: GanConfig) -> str:
    if config.data.title == "cifar10":
        return (
            "Samples have the colours and the layout of their class; few show an object. The copy "
            "of CIFAR-10 that it learned from and is judged by was compressed again, so that its "
            "figures go beside their floors here, not beside those of papers."
        )
    return "Some samples are no digit; the judge must give one a class all the same."


def _labels(config: GanConfig) -> str:
    k = config.model.classes
    if not k:
        return "It knows no labels: a class cannot be asked for."
    if config.model.generator_labels != "latents":
        return (
            "It makes one class at a time: there is no path from one class to another, and an "
            "encoded image is read as one of the classes, whatever it shows."
        )
    return (
        f"It takes no label: the largest of the first {k} latents chooses the class, so that a "
        "class can be had by `latents` alone, and a path between two classes changes over quickly."
    )


def _making(config: GanConfig) -> str:
    if config.model.generator_labels == "latents":
        return "`generate(z) → x`; `encode(x) → z`."
    return (
        "`generate(z, label) → x`; `encode(x) → z, label`. The label joins z as an indicator; a "
        "request that names none gets one drawn evenly by its seed. The encoder reads the class "
        "from the visible part, and inpainting and scores go by it."
    )


def _notes(config: GanConfig) -> str:
    descent = config.inpaint
    return (
        f"- {_making(config)}\n"
        "- `score(x)`: izi_f = ‖x − G(E(x))‖²/n + "
        f"{config.encoder.kappa:g}·‖f(x) − f(G(E(x)))‖²/n_f, f the discriminator's last feature "
        "map; the heatmap is |x − G(E(x))|.\n"
        "- `latent_start(x, mask, noise)`, `latent_step`, `latent_readout`: Adam on "
        f"‖(1 − mask)(G(z) − x)‖² + {descent.prior:g}·½‖z‖² + "
        f"{descent.realism:g}·softplus(−D(G(z))), rate {descent.rate:g}, from the mask-aware "
        f"encoder's code and {descent.spread:g} of noise.\n\n"
        "Every layer is a convolution, which treats each image by itself: on ONNX Runtime's CPU "
        "provider a row has the same bytes in any batch and with any number of threads "
        "(`tests/training/test_gan_export.py`)."
    )
