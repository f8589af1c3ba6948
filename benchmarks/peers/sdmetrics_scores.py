"""SDMetrics' own scores of one table, in its environment: each column's, each pair's, averaged.

real.parquet, made.parquet ──► {"shapes": …, "trends": …}

By its metrics, not by its report, which leaves out pairs that are hardly related, and bins each
table by its own range, so that one extreme value moves every bin.
"""

from __future__ import annotations

import json
import sys
from itertools import combinations

import numpy as np
import pandas as pd
from sdmetrics.column_pairs import ContingencySimilarity, CorrelationSimilarity
from sdmetrics.single_column import KSComplement, TVComplement


def main(real: str, made: str) -> None:
    ours, theirs = pd.read_parquet(real), pd.read_parquet(made)
    names = [str(name) for name in ours.columns]
    numeric = {name for name in names if ours[name].dtype != object}
    shapes = [
        (KSComplement if name in numeric else TVComplement).compute(ours[name], theirs[name])
        for name in names
    ]
    trends = [trend(ours[[a, b]], theirs[[a, b]], numeric & {a, b})
              for a, b in combinations(names, 2)]  # fmt: skip
    print(json.dumps({"shapes": float(np.mean(shapes)), "trends": float(np.nanmean(trends))}))


def trend(real: pd.DataFrame, made: pd.DataFrame, numeric: set[str]) -> float:
    """One pair's score; a missing number is left out of a correlation."""
    if len(numeric) == 2:
        return float(CorrelationSimilarity.compute(real.dropna(), made.dropna()))
    score = ContingencySimilarity.compute(real, made, continuous_column_names=sorted(numeric))
    return float(score)


if __name__ == "__main__":
    main(*sys.argv[1:])
