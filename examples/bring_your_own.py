"""Bring your own generator: a public architecture, exported by plain torch.onnx.export, served.

.venv/bin/python examples/bring_your_own.py --out exported   # writes two ONNX files
reverie models add exported/dcgan.onnx                       # checked; then a package of the store
reverie models add exported/conditional-dcgan.onnx
reverie serve

Nothing here is imported from this project: any generator that torch can export will do.
"""

# %% [markdown]
# # Bring your own generator
#
# The generator is DCGAN's (Radford, Metz & Chintala 2016): 100 numbers of noise become a 4×4 map,
# and four transposed convolutions double it to 64×64 pixels in three colours. Its weights are those
# that it is born with, so that its pictures are noise; load yours where it says so.

# %%
import argparse
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

options = argparse.ArgumentParser()
options.add_argument("--out", type=Path, default=Path("exported"), help="folder for ONNX files")
options.add_argument("--width", type=int, default=16, help="channels of the last feature map")
given = options.parse_known_args()[0]


class Dcgan(nn.Module):
    """Noise [n, 100, 1, 1] to images [n, 3, 64, 64] between -1 and 1."""

    def __init__(self, *, latent: int = 100, width: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = [latent, 8 * width, 4 * width, 2 * width, width]
        for i, (fan_in, fan_out) in enumerate(pairwise(channels)):
            stride, padding = (1, 0) if i == 0 else (2, 1)
            up = nn.ConvTranspose2d(fan_in, fan_out, 4, stride, padding, bias=False)
            layers += [up, nn.BatchNorm2d(fan_out), nn.ReLU()]
        last = nn.ConvTranspose2d(width, 3, 4, stride=2, padding=1, bias=False)
        self.layers = nn.Sequential(*layers, last, nn.Tanh())

    def forward(self, noise: Tensor) -> Tensor:
        """[n, 3, 64, 64]."""
        image: Tensor = self.layers(noise)
        return image


class ConditionalDcgan(nn.Module):
    """The same for a class from 0 to 9: its embedding joins the noise."""

    def __init__(self, *, width: int = 16) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 20)
        self.generator = Dcgan(latent=100 + 20, width=width)

    def forward(self, noise: Tensor, label: Tensor) -> Tensor:
        """[n, 3, 64, 64], of the classes in `label`."""
        code = self.embedding(label)[:, :, None, None]
        image: Tensor = self.generator(torch.cat([noise, code], dim=1))
        return image


torch.manual_seed(0)
plain, conditional = Dcgan(width=given.width), ConditionalDcgan(width=given.width)
with torch.no_grad():  # batch norm's statistics, in place of a training
    for _ in range(20):
        plain(torch.randn(32, 100, 1, 1))
        conditional(torch.randn(32, 100, 1, 1), torch.randint(10, (32,)))
# plain.load_state_dict(…), conditional.load_state_dict(…): your weights
plain.eval()
conditional.eval()

# %% [markdown]
# ## Export
#
# Three things matter: the first axis is dynamic, the weights are inside the file, and pixels end in
# [-1, 1] or [0, 1]. Names, the size of the noise and the size of the images are read off the graph.

# %%
given.out.mkdir(parents=True, exist_ok=True)
noise, label = torch.randn(2, 100, 1, 1), torch.tensor([0, 1])
rows = torch.export.Dim("rows", min=1, max=4096)
for name, generator, example in (
    ("dcgan", plain, (noise,)),
    ("conditional-dcgan", conditional, (noise, label)),
):
    file = given.out / f"{name}.onnx"
    torch.onnx.export(
        generator,
        example,
        file,
        input_names=["noise", "label"][: len(example)],
        output_names=["image"],
        dynamic_shapes=[{0: rows} for _ in example],
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    print(f"written: {file}, {file.stat().st_size / 1e6:.1f} MB")

# %% [markdown]
# ## Serve
#
# `reverie models add` checks the file, says what it found, and writes the package. What the model
# can do follows from its functions: a generator alone samples and interpolates, and with labels it
# makes the class that is asked for. It cannot inpaint or score, and says so.
