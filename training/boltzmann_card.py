"""What the cards of all Boltzmann machines say alike.

recipe, splits ──► pictures with captions, the paragraph on data, the note on the classifier
"""

from __future__ import annotations

from collections.abc import Sequence

from training.card import Picture
from training.classifier import ClassifyTable
from training.config import RecipeConfig
from training.data import Dataset
from training.rbm_config import ExportTable, Phase

REFERENCE = "A reference for samplers: the same seed gives the same bytes on CPU and GPU."
GREY = "Pixels are taken as probabilities of ink: grey is uncertainty, not shade."
P_VALUES = "A p-value says how unusual a score is among held-out training images, not why."
BASE_RATES = "Fresh samples (visible probabilities) after {burn_in:,} sweeps from the base rates"


def chain_pictures(
    export: ExportTable, *, seed: int, drawn: Sequence[str], samples: str = BASE_RATES
) -> list[Picture]:
    """The pictures that were `drawn`, captioned; `samples` says how the fresh ones were made."""
    captions = {
        "preview.png": f"{samples.format(burn_in=export.burn_in)}, seed {seed}; none chosen.",
        "inpainting.png": (
            "Held-out images; the same without their centre; five fillings each, "
            f"{export.inpaint_steps:,} clamped sweeps. None chosen."
        ),
    }
    pictures = [Picture(file, captions[file]) for file in captions if file in drawn]
    return pictures or [Picture("preview.png", "A training image.")]


def training_data(config: RecipeConfig, *, train: Dataset, held_out: Dataset) -> str:
    """What was trained on, held out and kept for the end."""
    return (
        f"{config.data.title}: {len(train):,} images of {'×'.join(map(str, train.shape[1:]))} to "
        f"train on, {len(held_out):,} held out by seed {config.seed} for monitoring and "
        "calibration. Fresh Bernoulli draws of the grey values in each epoch. The test images were "
        "used for the figures of this page alone, once training was over."
    )


def phases(table_phases: Sequence[Phase], *, between: str = "; ") -> str:
    """Epochs, batches and chains of each phase."""
    return between.join(
        f"{p.epochs} epochs with batches of {p.batch} and {p.chains} chains" for p in table_phases
    )


def classifier_note(table: ClassifyTable, *, network: str) -> str:
    """How `classify` was made from `network`."""
    changed = ""
    if table.distorts:
        changed = (
            f" Each time an image was seen it was changed a little: turned by up to "
            f"{12 * table.affine:g}°, scaled by up to {12 * table.affine:g} %, shifted by up to "
            f"{2 * table.affine:g} pixels of 28, and bent by smooth displacements of "
            f"{table.elastic_pixels:g} pixels (standard deviation)."
        )
    return (
        f"`classify` is {network} with a softmax on top, fine-tuned on the labels of the same "
        f"training images: {table.epochs} epochs of Adam, learning rate {table.learning_rate:g} "
        f"falling to {table.final_learning_rate:g}, dropout {table.input_dropout:g} of inputs and "
        f"{table.dropout:g} of hidden units.{changed} Its weights are its own, 8-bit integers with "
        "a scale for each unit, and no other function is touched."
    )
