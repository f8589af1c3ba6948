"""The files of an order, read: as a data frame, or as a data set for torch.

chunk-00000.parquet | .arrow | .npz | .csv ──read──► columns ──► DataFrame | SyntheticImages

pandas and torch are imported when they are asked for: neither is needed to call the service.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Columns = dict[str, Any]  # by name: an array or a list, with one entry a row


class SyntheticImages:
    """Images and labels for `torch.utils.data.DataLoader`, which takes whatever has items.

    Item i is (float32 tensor [C, H, W] in [0, 1], int), or the tensor alone where the order has no
    labels. All rows are held in memory, as they were stored.
    """

    def __init__(
        self, images: Sequence[NDArray[Any]], labels: Sequence[NDArray[np.int64]] | None
    ) -> None:
        self._torch = _optional("torch", "to_torch_dataset", "pip install torch")
        self._images = tuple(images)
        self._labels = None if labels is None else tuple(labels)
        self._ends = list(accumulate(map(len, self._images)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401  a torch tensor; torch is optional
        index = index + len(self) if index < 0 else index
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        chunk = bisect_right(self._ends, index)
        row = index - (self._ends[chunk - 1] if chunk else 0)
        image = self._torch.from_numpy(_in_data_space(self._images[chunk][row]))
        return image if self._labels is None else (image, int(self._labels[chunk][row]))

    def __getstate__(self) -> dict[str, Any]:
        """Without the module, so that a loader's workers can have a copy."""
        return {name: value for name, value in self.__dict__.items() if name != "_torch"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _torch=import_module("torch"))


def read_images(paths: Sequence[Path]) -> SyntheticImages:
    """The images and labels of an order's files.

    Raises:
        ImportError: torch is not installed.
        ValueError: the files hold no images, or need another tool, which is named.
    """
    images, labels = [], []
    for path, columns in _columns_of(paths):
        if "image" not in columns:
            raise ValueError(
                f"{path.name} has no column `image`; read it with to_pandas, or order parquet, "
                "arrow or npz of a model of images"
            )
        images.append(np.asarray(columns["image"]))
        labels.append(columns.get("label"))
    known = all(label is not None for label in labels)
    return SyntheticImages(images, [np.asarray(x, np.int64) for x in labels] if known else None)


def read_frame(paths: Sequence[Path]) -> pd.DataFrame:
    """All rows of an order's files, in order.

    Raises:
        ImportError: pandas is not installed.
        ValueError: the files need another tool, which is named.
    """
    pandas = _optional("pandas", "to_pandas", "pip install pandas")
    frames = []
    for _, columns in _columns_of(paths):
        frames.append(pandas.DataFrame({n: _entries(v) for n, v in columns.items()}))
    frame: pd.DataFrame = pandas.concat(frames, ignore_index=True) if frames else pandas.DataFrame()
    return frame


def frame_of_rows(rows: Sequence[Any]) -> pd.DataFrame:
    """Rows of a table as a data frame; a list of fillings a row becomes `_row` and `_filling`.

    Raises:
        ImportError: pandas is not installed.
    """
    pandas = _optional("pandas", "to_pandas", "pip install pandas")
    nested = rows and isinstance(rows[0], list)
    lines = [
        {"_row": i, "_filling": j, **filling}
        for i, fillings in enumerate(rows if nested else ())
        for j, filling in enumerate(fillings)
    ]
    frame: pd.DataFrame = pandas.DataFrame(lines if nested else list(rows))
    return frame


def _columns_of(paths: Sequence[Path]) -> Iterator[tuple[Path, Columns]]:
    """Each file with rows, read; files that tell of others are passed over."""
    for path in paths:
        if path.suffix in _ARCHIVES:
            raise ValueError(
                f"{path.name} is an archive of pictures: read it with the library `webdataset`, "
                "or unpack it and use `torchvision.datasets`; or order parquet, arrow or npz"
            )
        if path.suffix in _READERS:
            yield path, _READERS[path.suffix](path)


def _parquet(path: Path) -> Columns:
    return _of_table(import_module("pyarrow.parquet").read_table(path))


def _arrow(path: Path) -> Columns:
    arrow = import_module("pyarrow")
    with arrow.OSFile(str(path)) as file, arrow.ipc.open_file(file) as reader:
        return _of_table(reader.read_all())


def _csv(path: Path) -> Columns:
    return _of_table(import_module("pyarrow.csv").read_csv(path))


def _npz(path: Path) -> Columns:
    """Arrays with an entry a row; `label_names` becomes a name a row."""
    with np.load(path, allow_pickle=False) as archive:
        found = {name: _text(archive[name]) for name in archive.files}
    columns = {"image": found.pop("images")} if "images" in found else {}
    names = found.pop("label_names", None)
    if names is not None and "label" in found:
        found["label_name"] = names[found["label"]]
    return columns | found


def _text(array: NDArray[Any]) -> NDArray[Any]:
    """Bytes as text; everything else as it is."""
    return np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array


_ARCHIVES = frozenset({".tar", ".zip"})
_READERS: dict[str, Callable[[Path], Columns]] = {
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".csv": _csv,
    ".npz": _npz,
}


def _of_table(table: Any) -> Columns:  # noqa: ANN401  pyarrow has no types
    """Columns by name; images in the shape that the table's metadata says, where they are lists."""
    columns = {name: _of_column(table.column(name)) for name in table.column_names}
    shape = (table.schema.metadata or {}).get(b"image_shape")
    if shape is not None and columns.get("image") is not None:
        flat = np.stack(list(columns["image"])) if len(table) else np.empty((0, 1))
        columns["image"] = flat.reshape(len(table), *json.loads(shape))
    return columns


def _of_column(column: Any) -> Any:  # noqa: ANN401  pyarrow has no types
    """A column as an array of its entries' shape; None for one that holds nothing."""
    if column.null_count == len(column) and len(column):
        return None
    whole = column.combine_chunks()
    if hasattr(whole, "chunks"):  # pyarrow keeps an empty or single chunk in its wrapper
        whole = whole.chunk(0) if whole.num_chunks else None
    if hasattr(whole, "to_numpy_ndarray"):
        return whole.to_numpy_ndarray()
    return np.asarray(column.to_numpy())


def _entries(column: Any) -> Any:  # noqa: ANN401  any column
    """One entry a row, whatever its shape."""
    many = isinstance(column, np.ndarray) and column.ndim > 1
    return list(column) if many else column


def _in_data_space(image: NDArray[Any]) -> NDArray[np.float32]:
    """float32 in [0, 1]; a copy, so that what trains on it cannot change the data set."""
    scale = np.float32(255.0) if image.dtype == np.uint8 else np.float32(1.0)
    return np.array(image, np.float32) / scale


def _optional(module: str, method: str, remedy: str) -> ModuleType:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(f"{method} needs {module}, which is not installed: {remedy}") from error
