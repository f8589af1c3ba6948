"""For an application: samples, a path, a mended digit, a gate; and what errors look like.

make serve                                                    # in another terminal
.venv/bin/python examples/application.py --out pictures       # or cell by cell, in an editor
"""

# %% [markdown]
# # For an application
#
# Samples in milliseconds, the same ones for the same seed; a path between two of them; a broken
# digit mended; and a gate that turns away what does not look like a digit.

# %%
import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from service.client import Client, Invalid

options = argparse.ArgumentParser()
options.add_argument("--url", help="address of the service; default REVERIE_URL, or this machine")
options.add_argument("--out", type=Path, default=Path("pictures"), help="folder for pictures")
options.add_argument("--generator", default="mnist-dcgan", help="a model that samples quickly")
options.add_argument("--critic", default="mnist-rbm", help="a model that scores and inpaints")
given = options.parse_known_args()[0]

given.out.mkdir(parents=True, exist_ok=True)
client = Client(given.url)


def strip(pictures: list[Image.Image], *, scale: int = 4) -> Image.Image:
    """Pictures side by side, enlarged."""
    width, height = pictures[0].size
    sheet = Image.new(pictures[0].mode, (len(pictures) * (width + 1) - 1, height), 128)
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i * (width + 1), 0))
    return sheet.resize((scale * sheet.width, scale * sheet.height), Image.Resampling.NEAREST)


# %% [markdown]
# ## Samples
#
# A seed is a promise: the same model and seed give the same bytes, alone or under load, today or
# next year. And row *i* is row *i*, whatever `n` is. So an application may keep a seed in place of
# a picture.

# %%
digits = client.sample(given.generator, n=10, seed=7)
again = client.sample(given.generator, n=3, seed=7)
assert np.array_equal(again.array, digits.array[:3])

strip(digits.images()).save(given.out / "digits.png")
print(f"{digits.model}: {digits.array.shape} in [0, 1], seed {digits.seed}")
print(
    f"  {digits.timing.compute_ms:.1f} ms of computing, {digits.timing.queue_ms:.1f} ms of waiting"
)

# %% [markdown]
# An energy model says how well its chains have mixed: R-hat near 1 is good.

# %%
drawn = client.sample(given.critic, n=10, seed=7)
if drawn.diagnostics is not None:
    print(f"{drawn.model}: {drawn.diagnostics.sweeps} sweeps, R-hat {drawn.diagnostics.split_rhat}")

# %% [markdown]
# ## A path between two digits
#
# Points are seeds, rows of seeds, latents, or pictures of your own.

# %%
path = client.interpolate(
    given.generator, points=[7, {"seed": 7, "row": 3}, 8], frames=36, loop=True
)
first, *others = path.images()
first.save(given.out / "path.gif", save_all=True, append_images=others, duration=80, loop=0)
print(f"a path of {len(path.array)} frames: {given.out / 'path.gif'}")

# %% [markdown]
# ## A broken digit, mended
#
# 1 marks what is missing. The known pixels come back bit for bit, and each filling is one that the
# model finds plausible, so ask for several.

# %%
whole = digits.array[0]
hole = np.zeros(whole.shape[-2:])
hole[8:20, 10:20] = 1
broken = np.where(hole == 1, 0, whole).astype(np.float32)

mended = client.inpaint(given.critic, broken, mask=hole, n=6, seed=1)
known = hole == 0
assert np.array_equal(mended.array[0, 0, :, known], broken[:, known].T)

torn = Image.fromarray(np.uint8(255 * broken[0]))
strip([digits.images()[0], torn, *mended.images()]).save(given.out / "mended.png")
print(f"{mended.hole_fraction:.0%} of a digit filled in six ways: {given.out / 'mended.png'}")

# %% [markdown]
# The picture shows the whole digit, the broken one, and its six fillings.
#
# ## A gate against anomalies
#
# Scores come with conformal p-values: among normal images, the share with p ≤ α is α. So α is the
# price in good images that the gate turns away, and it is known beforehand.

# %%
ALPHA = 0.05


def admitted(images: np.ndarray) -> np.ndarray:
    """Which images look like what the model was trained on."""
    found = client.score(given.critic, images, alpha=ALPHA)
    assert found.anomalous is not None, f"{found.model} has no calibration"
    return ~found.anomalous


normal = client.sample(given.generator, n=200, seed=1).array
turned = normal[..., ::-1, ::-1]
crowd = {
    "digits of the other model": normal,
    "the same, inverted": 1 - normal,
    "the same, turned by half a circle": turned,
    "noise": np.random.default_rng(0).random(normal.shape, np.float32),
}
for name, images in crowd.items():
    print(f"  {admitted(images).mean():4.0%} admitted of {name}")

# %% [markdown]
# Digits that are turned by half a circle are often digits still (0, 1, 8, and 6 becomes 9): a gate
# that knows the distribution, not the classes, lets many of them pass; inverted digits and noise it
# does not.
#
# ## When something is wrong
#
# Errors are the server's own sentences, and say what to do. What may pass by itself (429, 503, a
# connection that breaks) is tried again within `timeout_s`, so it is not seen here.

# %%
try:
    client.sample(given.generator, n=100_000)
except Invalid as error:
    print(f"refused: {error}")

client.close()
