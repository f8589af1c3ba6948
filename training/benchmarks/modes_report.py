"""Results of the benchmarks of modes, stacked digits and TSTR as tables.

results.json ──► Grid (head, rows of text)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training.benchmarks.reports import Grid


def modes_grids(results: Mapping[str, Any]) -> list[Grid]:
    """A table a set that has trials: the mean of each method, the best of each figure marked."""
    sets = results["sets"]
    return [_modes_grid(name, results) for name in sets if any(sets[name].values())]


def _modes_grid(name: str, results: Mapping[str, Any]) -> Grid:
    methods, titles = results["sets"][name], results["config"]["methods"]
    found = {method: summary(trials) for method, trials in methods.items() if trials}
    best = {
        "captured": max(f["captured"] for f in found.values()),
        "high_quality": max(f["high_quality"] for f in found.values()),
        "reverse_kl": min(f["reverse_kl"] for f in found.values()),
    }
    rows = [
        (titles[method]["title"], *_cells(figures, best=best)) for method, figures in found.items()
    ]
    floor = results["floor"][name]
    rows.append(("real points", *_cells(summary([floor]), best={})))
    modes = floor["modes"]
    head = ("method", f"modes of {modes}", "all captured", "high quality", "reverse KL")
    return Grid(title=f"{name}: means over the trials", head=head, rows=tuple(rows))


def summary(trials: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Means over trials, and in how many of them every mode was captured."""
    mean = {
        key: sum(float(trial[key]) for trial in trials) / len(trials)
        for key in ("captured", "high_quality", "reverse_kl")
    }
    whole = sum(trial["captured"] == trial["modes"] for trial in trials)
    return mean | {"whole": float(whole), "trials": float(len(trials))}


def _cells(figures: Mapping[str, float], *, best: Mapping[str, float]) -> tuple[str, ...]:
    def marked(key: str, text: str) -> str:
        return f"**{text}**" if best.get(key) == figures[key] else text

    trials = int(figures["trials"])
    return (
        marked("captured", f"{figures['captured']:.1f}"),
        f"{int(figures['whole'])} of {trials}" if best else "",
        marked("high_quality", f"{figures['high_quality']:.1%}"),
        marked("reverse_kl", f"{figures['reverse_kl']:.3f}"),
    )


def stacked_grid(results: Mapping[str, Any]) -> Grid:
    """Modes and KL of stacked digits against images seen, and the same of real images."""
    rows = [(f"{at['images_seen']:,}", *_stacked_cells(at)) for at in results["figures"]]
    rows.append(("real test images", *_stacked_cells(results["floor"])))
    head = ("images seen", "modes of 1,000", "reverse KL")
    return Grid(title="stacked digits", head=head, rows=tuple(rows))


def _stacked_cells(at: Mapping[str, Any]) -> tuple[str, ...]:
    return f"{at['captured']:,}", f"{at['reverse_kl']:.3f}"


def tstr_grid(results: Mapping[str, Any]) -> Grid:
    """Share of test images that classifiers of each arm get right, in the mean and by seed."""
    rows = []
    for arm, by_seed in results["arms"].items():
        values = list(by_seed.values())
        if values:
            spread = f"{min(values):.2%} … {max(values):.2%}"
            rows.append((arm, f"{sum(values) / len(values):.2%}", spread))
    head = ("trained on", "right on test images", f"over {len(results['protocol']['seeds'])} seeds")
    return Grid(title=f"TSTR of {results['package']}", head=head, rows=tuple(rows))
