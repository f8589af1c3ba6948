"""Make the pictures of the README anew from the published models: `make pictures`.

models_store ──► engine ──► docs/images/*.png
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from service.api.encoding import contact_sheet_png
from service.engine import Engine, open_engine
from service.queries import Call, Inpaint, Inpainted, Sample, Sampled
from service.settings import Settings

IMAGES = Path(__file__).with_name("images")
MODELS = ("mnist-dcgan", "mnist-rbm")
SEED = 7
FILLINGS = 4
HOLE = slice(7, 21)


def hole() -> np.ndarray:
    """float32 [1, 28, 28]: 1 in the middle 14×14, which is to be filled."""
    mask = np.zeros((1, 28, 28), np.float32)
    mask[:, HOLE, HOLE] = 1
    return mask


async def sheet(engine: Engine, name: str) -> None:
    """A hundred samples of one model."""
    query = Sample(n=100, seed=SEED)
    result = cast("Sampled", await engine.run(engine.registry.get(name), query, Call.lasting(600)))
    (IMAGES / f"{name}.png").write_bytes(contact_sheet_png(result.samples))


async def inpainting(engine: Engine, digits: np.ndarray) -> None:
    """A row a digit: itself, without its middle, and fillings by each model in turn."""
    mask = hole()
    grey = np.where(mask[:, None] == 1, np.float32(0.35), digits)
    columns = [digits[:, None], grey[:, None]]
    for name in MODELS:
        query = Inpaint(images=digits, mask=mask, n=FILLINGS, seed=SEED)
        model = engine.registry.get(name)
        result = cast("Inpainted", await engine.run(model, query, Call.lasting(600)))
        columns.append(result.samples)
    rows = np.concatenate(columns, axis=1)
    flat = rows.reshape(-1, 1, 28, 28)
    png = contact_sheet_png(flat, columns=rows.shape[1])
    (IMAGES / "inpainting.png").write_bytes(png)


async def make() -> None:
    """All of them. The digits that are inpainted are the first of each class in the test set."""
    from training.data import load  # noqa: PLC0415  only this picture needs data

    IMAGES.mkdir(exist_ok=True)
    Image.fromarray((hole()[0] * 255).astype(np.uint8)).save(IMAGES / "hole.png")
    test = load("mnist", split="test")
    assert test.labels is not None
    first = [int(np.argmax(np.asarray(test.labels) == digit)) for digit in range(10)]
    engine = await open_engine(Settings(models_store=Path("models_store"), device="cpu"))
    for name in MODELS:
        await sheet(engine, name)
    await inpainting(engine, np.asarray(test.images)[first])
    await engine.stop()


if __name__ == "__main__":
    asyncio.run(make())
