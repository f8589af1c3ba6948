"""The process that drives Ray Data for one order: started by `RayBackend`, never by hand.

standard input: an errand ──ray.data: chunks ──map_batches: pool of ChunkMaker──► receipts──► output

It ends when its input ends, and takes its actors with it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, TextIO

from service.augmentation.backends.ray_actor import ChunkMaker, Errand, Packages

BLOCKS_A_WORKER = 16  # so that the last actors do not wait for one that began a long block
LONGEST_BLOCK = 16  # chunks
LOST = 3  # exit status: the cluster


def main() -> None:
    """Make the chunks of one errand, and say each receipt as a line of JSON."""
    told = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what Ray prints is no receipt
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=_leave_with_the_parent, daemon=True).start()
    try:
        _connect(asked["address"])
        _make(asked, told)
    except Exception:  # noqa: BLE001  whatever Ray raises is told by the status
        traceback.print_exc()
        os._exit(LOST)


def _leave_with_the_parent() -> None:
    """The end of the input is the end of the order's run here, cancelled or killed."""
    sys.stdin.read()
    os._exit(0)


def _connect(address: str) -> None:
    import ray  # noqa: PLC0415  the tests of this module's arithmetic need no cluster

    ray.init(
        address=address or None,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="warning",
        configure_logging=True,
    )


def _make(asked: dict[str, Any], told: TextIO) -> None:
    import ray  # noqa: PLC0415
    from ray.data import ActorPoolStrategy, DataContext  # noqa: PLC0415

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    packages = ray.put(read_packages([Path(path) for path in asked["packages"]]))
    chunks = asked["chunks"]
    blocks = blocks_of(len(chunks), workers=asked["workers"])
    made = ray.data.from_items(
        [{"chunk": chunk} for chunk in chunks], override_num_blocks=blocks
    ).map_batches(
        _Actor,
        fn_constructor_args=(asked["errand"], [packages]),
        compute=ActorPoolStrategy(size=min(asked["workers"], blocks)),
        batch_size=None,  # a block
        num_cpus=1,
        num_gpus=asked["gpus"] or None,
    )
    told.writelines(row["said"] + "\n" for row in made.iter_rows())


class _Actor(ChunkMaker):
    """A `ChunkMaker` whose packages come from Ray's object store."""

    def __init__(self, errand: dict[str, Any], packages: list[Any]) -> None:
        import ray  # noqa: PLC0415

        super().__init__(Errand(**errand), ray.get(packages[0]))


def read_packages(folders: list[Path]) -> Packages:
    """Every file of these packages, by name/version/file."""
    return {
        f"{folder.parent.name}/{folder.name}/{file.relative_to(folder)}": file.read_bytes()
        for folder in folders
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def blocks_of(chunks: int, *, workers: int) -> int:
    """Into how many blocks Ray Data should put the chunks: each is one task of an actor."""
    a_block = min(max(chunks // (workers * BLOCKS_A_WORKER), 1), LONGEST_BLOCK)
    return -(-chunks // a_block)


if __name__ == "__main__":
    main()
