"""An augmentation order for code that waits: wait for it, fetch its files, read them.

Order.wait: events, or polls ──► done        Order.download: files side by side ──► folder
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from httpx_sse import EventSource
from tenacity import Retrying

from service.client import ordering
from service.client.bound import BoundOrder
from service.client.downloads import Part, folder_for
from service.client.errors import DeadlineExceeded, Unreachable
from service.client.files import SyntheticImages, read_frame, read_images
from service.client.ordering import OrderStatus
from service.client.retrying import Deadline, policy
from service.client.watching import Bar, Watch

if TYPE_CHECKING:
    import pandas as pd

    from service.client.blocking import Client


class Order(BoundOrder):
    """One augmentation order; `Client.augment` places it, `Client.order` finds it again."""

    def __init__(self, client: Client, status: OrderStatus) -> None:
        super().__init__(status)
        self._client = client

    def refresh(self) -> Self:
        """Ask how it stands."""
        self.status = self._client.send(ordering.order(self.id))
        return self

    def wait(self, *, progress: bool = False, timeout_s: float | None = None) -> Self:
        """Return once it is done.

        Args:
            progress: show a progress bar.
            timeout_s: longest wait, in seconds; the order itself goes on after it.

        Raises:
            OrderFailed: it failed, or was cancelled.
            DeadlineExceeded: it is not done yet.
        """
        watch = Watch(self.status, Deadline.lasting(timeout_s))
        with Bar(f"order {self.id}", shown=progress) as bar:
            while not watch.status.ended:
                bar.order(watch.status)
                self._listen(watch, bar)
                if not watch.status.ended:
                    time.sleep(watch.pause_s())
                    watch.status = self._client.send(watch.poll())
            self.refresh()
            bar.order(self.status)
        self.status.check()
        return self

    def cancel(self) -> Self:
        """Cancel it."""
        self._client.send(ordering.cancel(self.id))
        return self.refresh()

    def manifest(self) -> dict[str, Any]:
        """Its request, digests, versions, class counts and quality report."""
        return self._client.send(ordering.manifest(self.id))

    def download(
        self,
        directory: str | PathLike[str],
        *,
        parallel: int = 4,
        progress: bool = False,
        timeout_s: float | None = None,
        partial: bool = False,
    ) -> list[Path]:
        """Fetch its files, wait for them if need be; their paths, in order.

        Each has its name only once its sha256 is right. What is there already is kept, and what
        broke off goes on where it did, now or in a later call.

        Args:
            directory: where to put them; made if it is not there.
            parallel: how many at a time.
            progress: show a progress bar.
            timeout_s: longest time for all of it, in seconds.
            partial: take what there is of an order that is not done, failed or was cancelled.

        Raises:
            OrderFailed: it failed, or was cancelled.
            ChecksumMismatch: a file came damaged, twice.
        """
        deadline = Deadline.lasting(timeout_s)
        if not partial:
            self.wait(progress=progress, timeout_s=timeout_s)
        parts = [Part(Path(directory), file) for file in self.files]
        stop = threading.Event()
        with (
            Bar("files", shown=progress) as bar,
            ThreadPoolExecutor(max(1, parallel)) as pool,
        ):
            tasks = [pool.submit(self._fetch, part, stop, deadline) for part in parts]
            for task in tasks:
                task.add_done_callback(lambda _: bar.at(sum(t.done() for t in tasks), len(tasks)))
            try:
                wait(tasks, return_when=FIRST_EXCEPTION)
            finally:  # one that failed, or Ctrl-C, ends the others
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
        return [task.result() for task in tasks if not task.cancelled()]

    def to_pandas(self, directory: str | PathLike[str] | None = None) -> pd.DataFrame:
        """All its rows as a data frame; images are arrays [C, H, W] in the column `image`.

        Args:
            directory: where the files are kept; None fetches them for this call alone.

        Raises:
            ImportError: pandas is not installed.
            ValueError: the order's format is read with another tool, which is named.
        """
        with folder_for(directory) as folder:
            return read_frame(self.download(folder))

    def to_torch_dataset(self, directory: str | PathLike[str] | None = None) -> SyntheticImages:
        """All its rows as a data set for torch's DataLoader: (image [C, H, W] in [0, 1], label).

        Args:
            directory: where the files are kept; None fetches them for this call alone.

        Raises:
            ImportError: torch is not installed.
            ValueError: the order's format is read with another tool, which is named.
        """
        with folder_for(directory) as folder:
            return read_images(self.download(folder))

    def _listen(self, watch: Watch, bar: Bar) -> None:
        """Follow its events, which end with the order; return at once where there are none."""
        if not watch.streams:
            return
        path = ordering.path_of(self.id, "events")
        try:
            with self._client.stream(
                path, headers=watch.headers(), deadline=watch.deadline
            ) as response:
                if not watch.hears(response.status_code, response.headers.get("content-type", "")):
                    return
                for event in EventSource(response).iter_sse():
                    watch.take(event)
                    bar.order(watch.status)
        except (Unreachable, DeadlineExceeded):
            return  # the next poll says whether the service is still there

    def _fetch(self, part: Part, stop: threading.Event, deadline: Deadline) -> Path:
        if part.is_there():
            return part.path
        tries = self._client.connection.tries
        retrying = Retrying(
            **policy(deadline, stop=lambda _: stop.is_set() or part.is_stuck(tries))
        )
        return retrying(self._fetch_once, part, stop, deadline)

    def _fetch_once(self, part: Part, stop: threading.Event, deadline: Deadline) -> Path:
        if part.wants_more:
            path = ordering.path_of(self.id, "files", *part.file.name.split("/"))
            with self._client.stream(path, headers=part.headers(), deadline=deadline) as response:
                content = response.read() if response.status_code >= 400 else b""
                with part.begin(response.status_code, response.headers, content):
                    for piece in response.iter_raw():
                        part.write(piece)
                        deadline.check()
                        if stop.is_set():
                            break
        return part.finish()
