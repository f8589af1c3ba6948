"""Who makes an order's chunks: this process, or actors of a Ray cluster. The bytes are the same.

missing chunks ──Backend.make──► files in the order's folder ──► a receipt for each

choice.py    which of them the settings say
local.py     here: a few chunks at a time, by the models of this process
ray_data.py  there: a process that drives Ray Data, so that this one needs no Ray
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from service.augmentation.folder import Receipt

OnReceipt = Callable[[Receipt], None]


class Backend(Protocol):
    """Makes chunks of one order into its folder."""

    async def make(self, chunks: Sequence[int], on_receipt: OnReceipt) -> None:
        """Make these chunks; `on_receipt` hears of each once its file and receipt are durable.

        Cancelling it stops what is under way; a file that is being written may still appear.

        Raises:
            Held: it cannot go on now.
            Failed: it cannot go on at all.
            ServiceError: a model cannot answer.
        """
        ...
