"""The published models behind a real `reverie serve`, for tests of what readers are told to run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent


@contextmanager
def serving(folder: Path, *, store: Path = ROOT / "models_store") -> Iterator[str]:
    """The address of a service, ready; what it writes itself goes to `folder`."""
    log = folder / "serve.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "service.cli", "serve", "--port", "0", "--store", str(store)],
            stderr=file, cwd=ROOT, env=os.environ | {"REVERIE_DATA_DIR": str(folder)},
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r"Listening on (http://127\.0\.0\.1:\d+)", log.read_text())):
            assert time.monotonic() < deadline, log.read_text()
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        yield found[1]
    finally:
        process.terminate()
        process.wait(60)
