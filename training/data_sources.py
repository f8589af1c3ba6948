"""The data sets that the project knows by name, each checked against its digest.

../shared/data beside the repository ──► else the cache folder ──► else public mirrors into it

`REVERIE_CACHE_DIR` moves the cache folder from `~/.cache/reverie`. A download is written under a
temporary name and renamed once its digest is right, so that a broken one is never read.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from training.data_files import Arrays, DataError, parse_idx, read_parquet

SHARED: Final = Path(__file__).resolve().parents[2] / "shared" / "data"

MNIST_MIRRORS: Final = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
# MD5 of the uncompressed files: the gzip wrappers of the mirrors differ.
MNIST_MD5: Final = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
CIFAR10_URL: Final = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR10_MD5: Final = "c32a1d4ab5d03f1284b67883e8d87530"
CIFAR10_ROW: Final = 1 + 3 * 32 * 32
# Seed of the digits' test split: part of the data's definition, never of a run.
DIGITS_SPLIT_SEED: Final = 8_8
DIGITS_TEST: Final = 360
# Seed of the stacked digits' orders: part of the data's definition too.
STACKED_SEED: Final = 1_000


def cache_folder() -> Path:
    """Where downloads are kept."""
    named = os.environ.get("REVERIE_CACHE_DIR")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "reverie"


def load_named(name: str, split: Literal["train", "test"]) -> Arrays:
    """Load one split of a data set of images as uint8 and labels."""
    loaders = {
        "mnist": load_mnist,
        "cifar10": load_cifar10,
        "digits": load_digits,
        "stacked-mnist": load_stacked_mnist,
    }
    if name not in loaders:
        raise DataError(f"data set {name!r} is not known: {', '.join(loaders)}, or give a path")
    return loaders[name](split)


def load_mnist(split: Literal["train", "test"]) -> Arrays:
    """MNIST, 28×28 grey: 60,000 images to train on, 10,000 to test on."""
    prefix = "train" if split == "train" else "t10k"
    images = parse_idx(_mnist_file(f"{prefix}-images-idx3-ubyte"), name=f"{prefix}-images")
    labels = parse_idx(_mnist_file(f"{prefix}-labels-idx1-ubyte"), name=f"{prefix}-labels")
    return images[:, None], labels.astype(np.int64)


def load_stacked_mnist(split: Literal["train", "test"]) -> Arrays:
    """Three digits of MNIST as the channels of one image: 1,000 modes. Metz et al. (2017), §3.3.

    Every digit of a split is once in each channel, in an order of a fixed seed; the label is the
    number that the digits write, 100a + 10b + c.
    """
    digits, labels = load_mnist(split)
    assert labels is not None, "MNIST has labels"
    generator = np.random.default_rng(STACKED_SEED)
    orders = [generator.permutation(len(digits)) for _ in range(3)]
    images = np.concatenate([digits[order] for order in orders], axis=1)
    numbers = sum(place * labels[order] for place, order in zip((100, 10, 1), orders, strict=True))
    return images, np.asarray(numbers, np.int64)


def load_cifar10(split: Literal["train", "test"]) -> Arrays:
    """CIFAR-10, 32×32 RGB: 50,000 images to train on, 10,000 to test on."""
    shared = SHARED / "cifar10" / f"{split}-00000-of-00001.parquet"
    if shared.exists():
        return read_parquet(shared, size=None, channels=3)
    archive = cache_folder() / "cifar-10-binary.tar.gz"
    content = fetch([CIFAR10_URL], archive, md5=CIFAR10_MD5, decompress=False)
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
        wanted = "data_batch" if split == "train" else "test_batch"
        names = sorted(m for m in tar.getnames() if Path(m).name.startswith(wanted))
        batches = [tar.extractfile(member) for member in names]
        raw = b"".join(batch.read() for batch in batches if batch is not None)
    rows = np.frombuffer(raw, np.uint8).reshape(-1, CIFAR10_ROW)
    return rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0].astype(np.int64)


def load_digits(split: Literal["train", "test"]) -> Arrays:
    """scikit-learn's 8×8 digits, 1,797 images: 1,437 to train on, 360 to test on.

    The labels follow a pattern of ten in their order there: every fifth image would be a test set
    of some digits more than of others. So the split is a permutation of a fixed seed.
    """
    from sklearn.datasets import load_digits as bundled  # noqa: PLC0415  (slow to import)

    digits = bundled()
    # The values are 0…16.
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    order = np.random.default_rng(DIGITS_SPLIT_SEED).permutation(len(images))
    rows = np.sort(order[:DIGITS_TEST] if split == "test" else order[DIGITS_TEST:])
    return images[rows], digits.target[rows].astype(np.int64)


def fetch(urls: Iterable[str], path: Path, *, md5: str, decompress: bool) -> bytes:
    """The content of `path`, downloaded from the first mirror that gives the right bytes.

    Args:
        urls: mirrors, in order of preference.
        path: where the file is kept, as downloaded.
        md5: digest of the content, after decompression if `decompress`.
        decompress: the file is gzip'd.

    Raises:
        DataError: no mirror answered with a file of that digest.
    """
    if path.exists():
        return _verified(path.read_bytes(), name=path.name, md5=md5, decompress=decompress)
    path.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    for url in urls:
        try:
            raw = _download(url)
            content = _verified(raw, name=url, md5=md5, decompress=decompress)
        except (OSError, urllib.error.URLError, DataError) as error:
            failures.append(f"{url}: {error}")
            continue
        temporary = path.with_name(f".{path.name}.{os.getpid()}.writing")
        temporary.write_bytes(raw)
        temporary.rename(path)
        return content
    raise DataError(f"{path.name} could not be downloaded ({'; '.join(failures)})")


def _mnist_file(name: str) -> bytes:
    """One uncompressed MNIST file, from the shared folder or through the cache."""
    shared = SHARED / "mnist" / f"{name}.gz"
    if shared.exists():
        raw = shared.read_bytes()
        return _verified(raw, name=shared.name, md5=MNIST_MD5[name], decompress=True)
    cached = cache_folder() / "mnist" / f"{name}.gz"
    mirrors = [f"{mirror}{name}.gz" for mirror in MNIST_MIRRORS]
    return fetch(mirrors, cached, md5=MNIST_MD5[name], decompress=True)


def _verified(raw: bytes, *, name: str, md5: str, decompress: bool) -> bytes:
    try:
        content = gzip.decompress(raw) if decompress else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{name} is not a whole gzip file: remove it and try again") from error
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise DataError(f"{name} has MD5 {found}, not {md5}: remove it and try again")
    return content


def _download(url: str) -> bytes:
    if not url.startswith("https://"):
        raise DataError(f"{url} is not an https address")
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=Console(stderr=True),
    )
    with urllib.request.urlopen(url, timeout=30) as response, bar:  # noqa: S310
        total = int(response.headers.get("Content-Length") or 0) or None
        task = bar.add_task(url.rsplit("/", 1)[-1], total=total)
        chunks = []
        while chunk := response.read(1 << 16):
            chunks.append(chunk)
            bar.advance(task, len(chunk))
    return b"".join(chunks)
