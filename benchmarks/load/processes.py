"""A server's processes, as Linux tells of them: find all, pause, weigh, and end them.

root pid ──children of children──► pids ──► CPU seconds, memory, signals
"""

from __future__ import annotations

import os
import re
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+\s*(?P<path>.*)")
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def tree(root: int) -> list[int]:
    """`root`, its descendants, and what else runs in its session; fathers before their sons."""
    fathers, sessions = {}, {}
    for folder in _PROC.iterdir():
        if folder.name.isdecimal() and (fields := _stat(int(folder.name))):
            fathers[int(folder.name)], sessions[int(folder.name)] = int(fields[1]), int(fields[3])
    found = [root]
    for pid in found:  # grows as it goes
        found += [son for son, father in fathers.items() if father == pid and son not in found]
    found += [pid for pid, session in sessions.items() if session == root and pid not in found]
    return [pid for pid in found if pid in fathers]


def cpu_seconds(pids: list[int]) -> float:
    """Seconds of processor time that these have used so far."""
    used = 0
    for pid in pids:
        if fields := _stat(pid):
            used += int(fields[11]) + int(fields[12])
    return used / _TICKS_A_SECOND


@dataclass(frozen=True)
class Memory:
    """What processes hold.

    Attributes:
        pss_bytes: proportional set size: their own pages, and their share of those that others on
            this machine map too. It depends on who those others are.
        alone_bytes: what it would be if nobody else were there; pages of a file count once.
    """

    pss_bytes: int
    alone_bytes: int


def memory(pids: list[int]) -> Memory:
    """Weigh these processes together."""
    pss = alone = 0
    files: dict[str, int] = {}
    for pid in pids:
        with suppress(OSError):
            whole = _sizes((_PROC / str(pid) / "smaps_rollup").read_text(encoding="utf-8"))
            pss += whole["Pss"]
            alone += whole["Pss_Anon"] + whole["Pss_Shmem"]
            for file, size in _file_pages(pid).items():
                files[file] = max(files.get(file, 0), size)
    return Memory(pss, alone + sum(files.values()))


def _file_pages(pid: int) -> dict[str, int]:
    """Bytes of each mapped file that are in memory, without pages that were written to."""
    found: dict[str, int] = {}
    file = ""
    for line in (_PROC / str(pid) / "smaps").read_text(encoding="utf-8").splitlines():
        if match := _MAPPING.match(line):
            file = match["path"]
        elif file.startswith("/") and line.startswith(("Rss:", "Anonymous:")):
            size = 1024 * int(line.split()[1])
            found[file] = found.get(file, 0) + (size if line.startswith("Rss:") else -size)
    return found


def _sizes(text: str) -> dict[str, int]:
    """Bytes by name, from lines such as `Pss:  264 kB`."""
    lines = (line.split() for line in text.splitlines() if line.endswith(" kB"))
    return {words[0].rstrip(":"): 1024 * int(words[1]) for words in lines}


def tell(pids: list[int], sig: signal.Signals) -> None:
    """Send a signal to those that are still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, sig)


def settle(
    pids: list[int], *, share: float = 0.5, every_s: float = 0.1, limit_s: float = 60
) -> None:
    """Wait until these use less than `share` of a core: what was left undone is done."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        before = cpu_seconds(pids)
        time.sleep(every_s)
        if cpu_seconds(pids) - before < share * every_s:
            return


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none if the process is gone or a zombie."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    fields = text.rpartition(")")[2].split()
    return [] if fields[0] in {"Z", "X"} else fields
