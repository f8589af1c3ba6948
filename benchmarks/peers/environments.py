"""A virtual environment for each peer, made on demand: their requirements exclude one another.

Peer ──venv, pip──► benchmarks/.envs/<environment>/installed.txt, which lists what it holds
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.peers.table import Peer

STAMP = "installed.txt"


def installed(peer: Peer) -> bool:
    """Whether its environment holds just what the table asks for."""
    if not peer.environment:
        return True
    stamp = _stamp(peer)
    return stamp.exists() and stamp.read_text(encoding="utf-8") == _wanted(peer)


def install(peer: Peer) -> None:
    """Make its environment, if that is not there.

    Raises:
        RuntimeError: pip could not; in its own last words.
    """
    if installed(peer):
        return
    stamp = _stamp(peer)
    print(f"installing {', '.join(peer.requirements)} into {stamp.parent.name}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", str(stamp.parent)], check=True)
    pip = [str(peer.bin() / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    done = subprocess.run([*pip, *peer.requirements], capture_output=True, text=True, check=False)
    if done.returncode:
        words = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise RuntimeError(f"pip could not install it: {(words or ['no reason given'])[-1]}")
    stamp.write_text(_wanted(peer), encoding="utf-8")


def _stamp(peer: Peer) -> Path:
    return peer.bin().parent / STAMP


def _wanted(peer: Peer) -> str:
    return "\n".join(peer.requirements) + "\n"
