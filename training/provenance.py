"""Where a model comes from: what a card and a manifest say of its making.

Workspace, recipe, training time ──► {recipe, seed, steps, seconds, versions, commit, …}
"""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from training.config import BareRecipe, Workspace

LIBRARIES = ("torch", "numpy", "onnx", "onnxruntime")


def provenance(
    config: BareRecipe, workspace: Workspace, *, steps: int, seconds: float, **more: object
) -> dict[str, Any]:
    """What made a package, as plain JSON values.

    Args:
        config: the recipe, which is recorded whole.
        workspace: names the command and the device.
        steps: updates.
        seconds: of training, over every resumption.
        more: figures of the kind of model.
    """
    return {
        "recipe": config.model_dump(mode="json"),
        "command": workspace.command,
        "smoke": workspace.smoke,
        "seed": config.seed,
        "steps": steps,
        "training_seconds": round(seconds, 1),
        "device": workspace.device,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": versions(),
        **more,
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide a result."""
    found = {"python": platform.python_version()}
    for name in ("reverie", *LIBRARIES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The commit of the source tree, with `+` if it was changed since; None outside one."""
    root = Path(__file__).resolve().parents[1]

    def git(*words: str) -> str:
        answer = subprocess.run(  # noqa: S603  (the words are ours)
            ["git", "-C", str(root), *words],  # noqa: S607  (git is found on the path)
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
        return answer.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "training", "service")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
