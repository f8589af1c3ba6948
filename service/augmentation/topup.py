"""What a data set has of each class: a Parquet, Arrow or CSV file (or folder), or an image folder.

path ──manifest.json | metadata.jsonl | class folders | label column──► {label: rows}
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from service.errors import InvalidInput

IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
_FORMATS = {".parquet": "parquet", ".arrow": "ipc", ".feather": "ipc", ".csv": "csv"}


def class_counts(path: Path, *, column: str = "label") -> dict[str, int]:
    """Rows by label, read a batch at a time.

    Raises:
        InvalidInput: there is nothing of that kind, or it has no labels.
    """
    if not path.exists():
        raise InvalidInput(f"{path} is not there: give a data set to top up")
    found = _of_folder(path, column) if path.is_dir() else _of_table(path, column)
    if not found:
        raise InvalidInput(f"{path} has no labelled rows in a column {column!r}")
    return {label: found[label] for label in sorted(found)}


def _of_folder(path: Path, column: str) -> Counter[str]:
    """An order of this service, an image folder, or a folder of tables."""
    manifest = path / "manifest.json"
    if manifest.is_file():
        return _of_manifest(manifest)
    described = sorted(path.glob("**/metadata.jsonl"))
    if described:
        return sum((_of_metadata(file, column) for file in described), Counter())
    tables = [p for p in sorted(path.iterdir()) if p.suffix in _FORMATS]
    if tables:
        return sum((_of_table(file, column) for file in tables), Counter())
    pictures = (p for p in path.glob("*/**/*") if p.suffix.lower() in IMAGES)
    return Counter(picture.relative_to(path).parts[0] for picture in pictures)


def _of_manifest(file: Path) -> Counter[str]:
    try:
        delivered = json.loads(file.read_bytes())["delivered"]
        return Counter({str(label): int(count) for label, count in delivered.items()})
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InvalidInput(f"{file} is not the manifest of an order") from error


def _of_metadata(file: Path, column: str) -> Counter[str]:
    with file.open(encoding="utf-8") as lines:
        try:
            return Counter(str(json.loads(line)[column]) for line in lines if line.strip())
        except (ValueError, LookupError, TypeError) as error:
            raise InvalidInput(f"{file} has a line without {column!r}") from error


def _of_table(path: Path, column: str) -> Counter[str]:
    from pyarrow import ArrowInvalid, dataset  # noqa: PLC0415  only where tables are read

    if path.suffix not in _FORMATS:
        raise InvalidInput(
            f"{path} is not a folder, nor one of {', '.join(_FORMATS)}: give one of these"
        )
    counts: Counter[str] = Counter()
    try:
        table = dataset.dataset(path, format=_FORMATS[path.suffix])
        if column not in table.schema.names:
            raise InvalidInput(
                f"{path} has no column {column!r}; it has {', '.join(table.schema.names[:20])}"
            )
        for batch in table.to_batches(columns=[column]):
            for pair in batch.column(0).value_counts().to_pylist():
                if pair["values"] is not None:
                    counts[str(pair["values"])] += pair["counts"]
    except (ArrowInvalid, OSError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from error
    return counts
