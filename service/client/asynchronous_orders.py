"""An augmentation order, awaited: wait for it, fetch its files, read them.

AsyncOrder.wait: events, or polls ──► done    AsyncOrder.download: files side by side ──► folder
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import anyio
from anyio.to_thread import run_sync
from httpx_sse import EventSource
from tenacity import AsyncRetrying

from service.client import ordering
from service.client.bound import BoundOrder
from service.client.downloads import Part, folder_for
from service.client.errors import DeadlineExceeded, ReverieError, Unreachable
from service.client.files import SyntheticImages, read_frame, read_images
from service.client.ordering import OrderStatus
from service.client.retrying import Deadline, policy
from service.client.watching import Bar, Watch

if TYPE_CHECKING:
    import pandas as pd

    from service.client.asynchronous import AsyncClient


class AsyncOrder(BoundOrder):
    """One augmentation order; `AsyncClient.augment` places it, `AsyncClient.order` finds it again.

    Its methods are those of `Order`, with the same arguments and errors.
    """

    def __init__(self, client: AsyncClient, status: OrderStatus) -> None:
        super().__init__(status)
        self._client = client

    async def refresh(self) -> Self:
        """Ask how it stands."""
        self.status = await self._client.send(ordering.order(self.id))
        return self

    async def wait(self, *, progress: bool = False, timeout_s: float | None = None) -> Self:
        """Return once it is done; see `Order.wait`."""
        watch = Watch(self.status, Deadline.lasting(timeout_s))
        with Bar(f"order {self.id}", shown=progress) as bar:
            while not watch.status.ended:
                bar.order(watch.status)
                await self._listen(watch, bar)
                if not watch.status.ended:
                    await anyio.sleep(watch.pause_s())
                    watch.status = await self._client.send(watch.poll())
            await self.refresh()
            bar.order(self.status)
        self.status.check()
        return self

    async def cancel(self) -> Self:
        """Cancel it."""
        await self._client.send(ordering.cancel(self.id))
        return await self.refresh()

    async def manifest(self) -> dict[str, Any]:
        """Its request, digests, versions, class counts and quality report."""
        return await self._client.send(ordering.manifest(self.id))

    async def download(
        self,
        directory: str | PathLike[str],
        *,
        parallel: int = 4,
        progress: bool = False,
        timeout_s: float | None = None,
        partial: bool = False,
    ) -> list[Path]:
        """Fetch its files, wait for them if need be; see `Order.download`."""
        deadline = Deadline.lasting(timeout_s)
        if not partial:
            await self.wait(progress=progress, timeout_s=timeout_s)
        parts = [Part(Path(directory), file) for file in self.files]
        limit = anyio.CapacityLimiter(max(1, parallel))
        failed: list[ReverieError | OSError] = []
        with Bar("files", shown=progress) as bar:
            done = 0

            async def fetch(part: Part) -> None:
                nonlocal done
                async with limit:
                    try:
                        await self._fetch(part, deadline)
                    except (ReverieError, OSError) as error:
                        failed.append(error)
                        group.cancel_scope.cancel()
                    done += 1
                    bar.at(done, len(parts))

            async with anyio.create_task_group() as group:
                for part in parts:
                    group.start_soon(fetch, part)
        if failed:
            raise failed[0]
        return [part.path for part in parts]

    async def to_pandas(self, directory: str | PathLike[str] | None = None) -> pd.DataFrame:
        """All its rows as a data frame; see `Order.to_pandas`."""
        with folder_for(directory) as folder:
            return await run_sync(read_frame, await self.download(folder))

    async def to_torch_dataset(
        self, directory: str | PathLike[str] | None = None
    ) -> SyntheticImages:
        """All its rows as a data set for torch's DataLoader; see `Order.to_torch_dataset`."""
        with folder_for(directory) as folder:
            return await run_sync(read_images, await self.download(folder))

    async def _listen(self, watch: Watch, bar: Bar) -> None:
        """Follow its events, which end with the order; return at once where there are none."""
        if not watch.streams:
            return
        path = ordering.path_of(self.id, "events")
        try:
            async with self._client.stream(
                path, headers=watch.headers(), deadline=watch.deadline
            ) as response:
                if not watch.hears(response.status_code, response.headers.get("content-type", "")):
                    return
                async for event in EventSource(response).aiter_sse():
                    watch.take(event)
                    bar.order(watch.status)
        except (Unreachable, DeadlineExceeded):
            return  # the next poll says whether the service is still there

    async def _fetch(self, part: Part, deadline: Deadline) -> Path:
        if await run_sync(part.is_there):
            return part.path
        tries = self._client.connection.tries
        retrying = AsyncRetrying(**policy(deadline, stop=lambda _: part.is_stuck(tries)))
        return await retrying(self._fetch_once, part, deadline)

    async def _fetch_once(self, part: Part, deadline: Deadline) -> Path:
        if part.wants_more:
            path = ordering.path_of(self.id, "files", *part.file.name.split("/"))
            async with self._client.stream(
                path, headers=part.headers(), deadline=deadline
            ) as response:
                content = await response.aread() if response.status_code >= 400 else b""
                with part.begin(response.status_code, response.headers, content):
                    async for piece in response.aiter_raw():
                        part.write(piece)
                        deadline.check()
        return await run_sync(part.finish)
