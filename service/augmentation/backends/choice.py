"""Which backend makes an order's chunks: the one that the settings say.

Settings.augment_backend ──► LocalBackend | RayBackend
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from service.augmentation.asking import PinnedModels
from service.augmentation.backends import Backend
from service.augmentation.backends.local import CHUNKS_IN_FLIGHT, LocalBackend
from service.augmentation.backends.ray_data import RayBackend
from service.augmentation.folder import OrderFolder
from service.settings import Settings


def backend_of(
    settings: Settings,
    folder: OrderFolder,
    models: PinnedModels,
    *,
    writing: ThreadPoolExecutor,
    workers: int = CHUNKS_IN_FLIGHT,
) -> Backend:
    """Who makes the chunks of one order; `workers` counts chunks side by side in this process."""
    order = folder.order
    if settings.augment_backend == "ray":
        names = filter(None, (order.model, order.accept.judge))
        packages = {settings.models_store.joinpath(*name.split("@")) for name in names}
        return RayBackend(folder, sorted(packages), settings)
    return LocalBackend(
        folder,
        models,
        writing=writing,
        workers=workers,
        made_on=lambda: models.made_on(order.model),
    )
