"""What every operation needs: the model, the call, the limits, and feeding functions by role."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from service.contract import FunctionSpec, ImageData, Manifest, Role, TensorSpec
from service.domain.randomness import Stream, standard_normal, uniform16
from service.errors import InvalidInput, MissingCapability
from service.metrics import Metrics
from service.queries import Call, Images
from service.registry import Model
from service.sessions import NUMPY_DTYPES, Arrays
from service.settings import Settings

ByRole = dict[Role, NDArray[Any]]


@dataclass(frozen=True)
class Context:
    """One operation on one model."""

    model: Model
    call: Call
    settings: Settings
    metrics: Metrics

    @property
    def manifest(self) -> Manifest:
        """The model's manifest."""
        return self.model.manifest

    @property
    def image(self) -> ImageData:
        """The shape and range of the model's images."""
        data = self.manifest.data
        if not isinstance(data, ImageData):
            raise MissingCapability(f"{self.model.id} is a model of tables, not of images")
        return data

    def require(self, operation: str) -> None:
        """Raise MissingCapability, naming what the model can do, unless it can do `operation`."""
        able = self.manifest.capabilities
        if operation not in able:
            raise MissingCapability(
                f"{self.model.id} cannot {operation}; it can {', '.join(able) or 'do nothing'}"
            )

    def spec(self, function: str) -> FunctionSpec:
        """The contract of a function that is there."""
        return self.manifest.functions[function]

    async def map(self, function: str, by_role: ByRole) -> Arrays:
        """Run a map function on arrays given by role; outputs by name."""
        inputs = feed(self.spec(function), by_role)
        return await self.model.maps[function].submit(inputs, self.call)

    async def map_role(self, function: str, by_role: ByRole, wanted: Role) -> NDArray[Any]:
        """Run a map function; the one output that has this role."""
        outputs = await self.map(function, by_role)
        tensor = self.spec(function).output(wanted)
        assert tensor is not None, f"{function} has no {wanted} output"
        return outputs[tensor.name]

    def check_images(self, images: Images, pointer: str = "/images") -> None:
        """Refuse images that are not this model's, or too many of them."""
        expected = self.image.shape
        if images.shape[1:] != expected:
            raise InvalidInput(
                f"images of shape {list(images.shape[1:])} do not fit {self.model.id}, "
                f"which takes {list(expected)} (channels, height, width)",
                pointer=pointer,
            )
        self.check_rows(len(images), pointer)

    def check_rows(self, rows: int, pointer: str) -> None:
        """Refuse no rows, and more than an answer may have."""
        limit = self.settings.max_rows
        if rows < 1:
            raise InvalidInput("at least one row is needed", pointer=pointer)
        if rows > limit:
            raise InvalidInput(
                f"{pointer.lstrip('/')}={rows} exceeds {limit}; order it with "
                "POST /v1/augmentations",
                pointer=pointer,
            )

    def check_sweeps(self, sweeps: int, pointer: str) -> None:
        """Refuse more sweeps than the limit."""
        if not 0 <= sweeps <= self.settings.max_sweeps:
            raise InvalidInput(
                f"{pointer.lstrip('/')}={sweeps} is not between 0 and {self.settings.max_sweeps}",
                pointer=pointer,
            )

    def to_network(self, images: Images) -> Images:
        """[0, 1] → the network's own range."""
        low, high = self.image.range
        if (low, high) == (0.0, 1.0):
            return images
        return (images * np.float32(high - low) + np.float32(low)).astype(np.float32)

    def to_data_space(self, x: NDArray[Any]) -> Images:
        """The network's own range → float32 in [0, 1], in the model's image shape."""
        low, high = self.image.range
        images = x.reshape(-1, *self.image.shape)
        if (low, high) != (0.0, 1.0):
            images = (images - np.float32(low)) / np.float32(high - low)
        return np.clip(images, 0.0, 1.0, dtype=np.float32)


def feed(spec: FunctionSpec, by_role: ByRole) -> Arrays:
    """A function's inputs by name, each in the dtype and shape that its contract says."""
    return {t.name: _fit(t, by_role[t.role]) for t in spec.inputs}


def _fit(tensor: TensorSpec, array: NDArray[Any]) -> NDArray[Any]:
    shaped = array.reshape(len(array), *tensor.row_shape)
    return np.ascontiguousarray(shaped, dtype=NUMPY_DTYPES[tensor.dtype])


def draw_noise(
    spec: FunctionSpec, *, seed: int, rows: Sequence[int], stream: Stream
) -> Float[np.ndarray, "rows width"] | NDArray[np.uint16]:
    """What a function's noise input wants: uniform 16-bit integers, or standard normals."""
    tensor = spec.input(Role.NOISE)
    if tensor is None:
        return np.zeros((len(rows), 0), np.uint16)
    width = int(np.prod(tensor.row_shape))
    if tensor.dtype == "uint16":
        return uniform16(seed=seed, rows=rows, stream=stream, width=width)
    return standard_normal(seed=seed, rows=rows, stream=stream, width=width)
