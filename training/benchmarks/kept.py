"""What a benchmark has finished, so that an interrupted one goes on after it.

compute() ──► folder/<name>.json {made_from, found}        found, read again, if made_from is equal
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from training.run import RunConflict


def kept_or_done(
    path: Path, *, made_from: Mapping[str, Any], compute: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """What `path` holds, or else what `compute` gives, which is then kept there, whole or not.

    Args:
        path: a .json file.
        made_from: all that the result depends on, as plain JSON values.
        compute: gives the result, as plain JSON values.

    Raises:
        RunConflict: the file comes from something else.
    """
    if path.exists():
        document: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if document["made_from"] != json.loads(json.dumps(made_from)):
            raise RunConflict(
                f"{path.name} comes from other settings or another package: give the same, or "
                "--fresh"
            )
        found: dict[str, Any] = document["found"]
        return found
    found = compute()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps({"made_from": made_from, "found": found}) + "\n", "utf-8")
    temporary.rename(path)
    return found
