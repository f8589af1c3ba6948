"""A server's processes, found and weighed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from benchmarks.load import processes

FATHER = """
import subprocess, sys
son = subprocess.Popen([sys.executable, "-c", "print('up', flush=True); input()"], stdin=-1)
input()
son.kill()
son.wait()
"""


@pytest.fixture
def father() -> Iterator[subprocess.Popen[str]]:
    """A process with a child; both are up."""
    with subprocess.Popen(
        [sys.executable, "-c", FATHER], stdin=-1, stdout=-1, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process
        process.communicate("\n")


def test_the_tree_begins_at_its_root_and_holds_the_children(father):
    found = processes.tree(father.pid)
    assert found[0] == father.pid
    assert len(found) == 2
    assert processes.tree(2**22 + 1) == []


def test_alone_weighs_no_less_than_shared(father):
    both = processes.memory(processes.tree(father.pid))
    one = processes.memory([father.pid])
    assert 0 < both.pss_bytes <= both.alone_bytes
    assert one.alone_bytes < both.alone_bytes < 2 * one.alone_bytes, "files count once"


def test_paused_processes_use_no_time(father):
    pids = processes.tree(father.pid)
    processes.tell(pids, signal.SIGSTOP)
    before = processes.cpu_seconds(pids)
    processes.settle(pids, every_s=0.02)
    assert processes.cpu_seconds(pids) == before
    processes.tell(pids, signal.SIGCONT)
