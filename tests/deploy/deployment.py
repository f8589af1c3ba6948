"""Programs that tests of deployment need, and servers that run while a test looks at them."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import httpx
import pytest

ROOT = Path(__file__).parents[2]
REVERIE = Path(sys.executable).with_name("reverie")
LONGEST_START_S = 60


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it under REVERIE_REQUIRE_ALL, since this machine lacks something."""
    if os.environ.get("REVERIE_REQUIRE_ALL"):
        pytest.fail(reason)
    pytest.skip(reason)


def require(name: str, *, package: str) -> str:
    """The path of a program, if it is here."""
    beside_python = Path(sys.executable).with_name(name)
    found = str(beside_python) if beside_python.exists() else shutil.which(name)
    return found or missing(f"{name} is not installed: apt-get install {package}")


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_until(process: subprocess.Popen[bytes], log: Path, condition: Callable[[], bool]) -> None:
    """Return once `condition` holds; fail when the process ends first, or takes too long."""
    for _ in range(LONGEST_START_S * 10):
        try:
            if condition():
                return
        except httpx.TransportError:
            pass
        try:
            code = process.wait(timeout=0.1)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"{process.args} ended with {code}:\n{log.read_text()}")
    pytest.fail(f"{process.args} was not ready after {LONGEST_START_S} s:\n{log.read_text()}")


@contextmanager
def running(
    command: list[str], log: Path, *, ready: str, env: dict[str, str] | None = None, **how: object
) -> Iterator[subprocess.Popen[bytes]]:
    """Start `command`, wait until GET `ready` is 200, and end it with SIGTERM."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | (env or {}), **how
        )
    try:
        wait_until(process, log, lambda: httpx.get(ready, timeout=2).status_code == 200)
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)
