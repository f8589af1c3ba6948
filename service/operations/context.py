"""What every operation needs: the model, the call, the limits, and calls of functions by role."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.contract import FunctionSpec, ImageData, Manifest, Role, TableData
from service.domain.arrays import Arrays
from service.domain.feeding import ByRole, feed
from service.domain.images import to_data_space
from service.errors import InvalidInput, MissingCapability
from service.metrics import Metrics
from service.model import Model
from service.queries import Call, Images
from service.settings import Settings


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

    @property
    def table(self) -> TableData:
        """The columns of the model's rows."""
        data = self.manifest.data
        if not isinstance(data, TableData):
            raise MissingCapability(f"{self.model.id} is a model of images, not of tables")
        return data

    def require(self, operation: str) -> None:
        """Raise MissingCapability, naming what the model can do, unless it can do `operation`."""
        able = self.model.capabilities
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
        return to_data_space(x, shape=self.image.shape, low=low, high=high)
