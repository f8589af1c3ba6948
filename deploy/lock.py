"""Write constraints.txt and constraints-gpu.txt anew: `make lock`.

pip freeze of this environment ──► constraints.txt
pip's plan for the gpu extra   ──► constraints-gpu.txt (only what constraints.txt lacks)

The CUDA wheels have a file of their own, because a CUDA build of torch names exact versions of the
same wheels, and one file for both would leave an environment with torch without a solution.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEADER = "# {what}. Written by `make lock`; not by hand.\n"


def pip(*arguments: str) -> str:
    """What pip, of the environment that runs this script, prints."""
    command = [sys.executable, "-m", "pip", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603


def installed() -> list[str]:
    """`name==version` of every package here but pip and the project, without labels (+cpu)."""
    lines = pip("freeze", "--all", "--exclude-editable", "--exclude", "pip").splitlines()
    return [line.split("+", 1)[0] for line in lines if "==" in line]


def planned(constraints: Path, *requirements: str) -> list[str]:
    """`name==version` of what pip would install for `requirements`; nothing is installed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = ("--quiet", "--dry-run", "--ignore-installed", "--report", str(report))
        pip("install", *options, "--constraint", str(constraints), *requirements)
        plan = json.loads(report.read_text("utf-8"))["install"]
    return [f"{entry['metadata']['name']}=={entry['metadata']['version']}" for entry in plan]


def write(path: Path, *, what: str, pins: set[str]) -> None:
    """One constraint a line, sorted without regard to case."""
    body = "\n".join(sorted(pins, key=str.lower))
    path.write_text(f"{HEADER.format(what=what)}{body}\n", "utf-8")


def main() -> None:
    """Write both files beside pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    cpu, gpu = ROOT / "constraints.txt", ROOT / "constraints-gpu.txt"
    pins = set(installed())
    what = "Exact versions of everything, for serving, training and development"
    write(cpu, what=what, pins=pins)
    pins |= set(planned(cpu, *project["build-system"]["requires"]))
    write(cpu, what=what, pins=pins)
    extra = set(planned(cpu, *project["project"]["optional-dependencies"]["gpu"]))
    write(
        gpu, what="What serving on an NVIDIA GPU needs besides constraints.txt", pins=extra - pins
    )


if __name__ == "__main__":
    main()
