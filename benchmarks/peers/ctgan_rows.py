"""CTGAN on one table, in its own environment: learn, make rows, say how long it took.

seen.parquet ──median, where it was missing──► CTGAN ──► made.parquet, {"seconds": …}
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import pandas as pd
import torch
from ctgan import CTGAN

NULL = "(null)"
MISSING = " is missing"


def main(seen: str, made: str, rows: str, epochs: str, seed: str) -> None:
    np.random.seed(int(seed))  # noqa: NPY002  CTGAN draws from the global generators
    torch.manual_seed(int(seed))
    torch.set_num_threads(1)
    table = pd.read_parquet(seen)
    names = [str(name) for name in table.columns]
    words = [name for name in names if table[name].dtype == object]
    holed = [name for name in names if name not in words and table[name].isna().any()]
    table[words] = table[words].fillna(NULL)
    for name in holed:
        table[name + MISSING] = table[name].isna().map({True: "yes", False: "no"})
        table[name] = table[name].fillna(table[name].median())
    began = time.perf_counter()
    model = CTGAN(epochs=int(epochs), enable_gpu=False, verbose=False)
    model.fit(table, discrete_columns=[*words, *(name + MISSING for name in holed)])
    seconds = time.perf_counter() - began
    found = model.sample(int(rows))
    for name in holed:
        found.loc[found.pop(name + MISSING) == "yes", name] = np.nan
    found[words] = found[words].replace(NULL, None)
    found.to_parquet(made)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
