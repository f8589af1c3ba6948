"""For a data team: order synthetic rows of a rare class, and measure what they gain.

make serve                                                    # in another terminal
.venv/bin/python examples/data_team.py --model mnist-cgan     # or cell by cell, in an editor
.venv/bin/python examples/data_team.py --model mnist-dcgan --labeller own    # one without labels
"""

# %% [markdown]
# # For a data team
#
# Nine digits with hundreds of examples each, and one with twenty. Does a classifier get better when
# the rare class is filled up with synthetic rows? The answer is a difference with an interval,
# beside what costs nothing (weights) and what costs most (real rows).
#
# Protocol: each repeat draws the real training rows anew from MNIST's training set; the same
# synthetic order serves all repeats; every figure is of MNIST's test set, by which nothing here is
# chosen. **Read with care:** the published models were trained on all of MNIST, and have seen far
# more of the rare class than the twenty rows that the classifier gets. So this measures how well a
# generator hands on what it knows. To learn what *your* rare class gains, train the generator on
# your training rows alone.

# %%
import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_score, recall_score
from sklearn.svm import SVC

from service.client import Client, ReverieError
from training.data import load

CLASSIFIERS: dict[str, Callable[..., LogisticRegression | SVC]] = {
    "logistic": lambda **more: LogisticRegression(max_iter=300, **more),
    "svm": lambda **more: SVC(C=10, **more),
}
options = argparse.ArgumentParser()
options.add_argument("--url", help="address of the service; default REVERIE_URL, or this machine")
options.add_argument("--model", default="mnist-cgan", help="a model of MNIST's digits")
options.add_argument(
    "--labeller",
    help="for a model without labels: a model that classifies, or `own` for a classifier that is "
    "trained on the real rows",
)
options.add_argument("--rare", type=int, default=8, choices=range(10), help="the rare digit")
options.add_argument("--have", type=int, default=20, help="real rows of the rare digit")
options.add_argument("--others", type=int, default=300, help="real rows of each other digit")
options.add_argument("--repeats", type=int, default=5, help="draws of the real rows; 2 or more")
options.add_argument("--test", type=int, default=10_000, help="test images, the first ones")
options.add_argument("--classifier", default="logistic", choices=sorted(CLASSIFIERS))
options.add_argument("--out", type=Path, default=Path("synthetic"), help="folder for the order")
given = options.parse_known_args()[0]

client = Client(given.url)
missing = given.others - given.have

# %% [markdown]
# ## Can this model help?
#
# A conditional model is asked for the rare class by name. A model without labels gives every digit,
# and somebody must say which is which: a model that classifies, or a classifier of one's own.

# %%
try:
    page = client.model(given.model)
except ReverieError as error:
    sys.exit(f"{given.model} cannot be asked: {error}")
names = page.document.get("labels")
if page.shape != (1, 28, 28):
    sys.exit(f"{given.model} makes {page.kind}s of {page.shape}; this example needs 28 × 28 digits")
if names is None and given.labeller is None:
    sys.exit(
        f"{given.model} has no labels, so nobody says which of its rows are a {given.rare}: "
        "name a model that can with --labeller MODEL, or say --labeller own"
    )
if names is not None and str(given.rare) not in names:
    sys.exit(f"{given.model} does not know the class {given.rare}; it has {', '.join(names)}")
if (
    given.labeller not in {None, "own"}
    and "classify" not in client.model(given.labeller).capabilities
):
    sys.exit(f"--labeller {given.labeller} cannot classify; name another model, or `own`")

# %% [markdown]
# ## The order
#
# One request, made in the background. The files are checked against their digests; the same order
# has the same files, so what a second run finds in the folder is not fetched again. Without labels,
# fifteen times as many rows are ordered, since about a tenth of them is the rare digit.

# %%
POOL = 15
if names is None:
    order = client.augment(given.model, n=POOL * missing, seed=1, dtype="uint8")
else:
    order = client.augment(given.model, labels={str(given.rare): missing}, seed=1, dtype="uint8")
order.download(given.out, progress=sys.stdout.isatty())
print(f"{order.progress.rows_done} rows of {order.status.document['model']} in {given.out}/")

rows = order.to_torch_dataset(given.out)
pool = np.stack([np.asarray(rows[i] if names is None else rows[i][0]) for i in range(len(rows))])

# %% [markdown]
# ## Real rows, as rare as they are


# %%
def flat(images: np.ndarray) -> np.ndarray:
    """[n, 1, 28, 28] → [n, 784]."""
    return images.reshape(len(images), -1)


train, test = load("mnist"), load("mnist", "test")
assert train.labels is not None
assert test.labels is not None
digits = train.labels
test_x, test_y = flat(test.images[: given.test]), test.labels[: given.test]


def real_rows(repeat: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(images, labels) of a repeat, and further real rows of the rare class, for comparison."""
    draw = np.random.default_rng(repeat)
    chosen, more = [], np.empty(0, np.int64)
    for digit in range(10):
        shuffled = draw.permutation(np.flatnonzero(digits == digit))
        count = given.have if digit == given.rare else given.others
        chosen.append(shuffled[:count])
        if digit == given.rare:
            more = shuffled[count : given.others]
    picked = np.concatenate(chosen)
    return train.images[picked], digits[picked], train.images[more]


CONFIDENT = 0.9


def synthetic_rows(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The pool's rows of the rare class: all of a conditional model's, else those so labelled."""
    if names is not None:
        return pool[:missing]
    if given.labeller == "own":
        labeller = LogisticRegression(max_iter=300, class_weight="balanced")
        likely = labeller.fit(flat(images), labels).predict_proba(flat(pool))[:, given.rare]
    else:
        parts = [pool[at : at + 500] for at in range(0, len(pool), 500)]
        classes = [client.classify(given.labeller, part) for part in parts]
        column = classes[0].labels.index(str(given.rare))
        likely = np.concatenate([found.array[:, column] for found in classes])
    chosen: np.ndarray = pool[likely > CONFIDENT][:missing]
    return chosen


# %% [markdown]
# ## What is gained

# %%
ARMS = ("real rows alone", "the same, weighted", "with synthetic rows", "with as many real rows")


def figures(
    images: np.ndarray, labels: np.ndarray, added: np.ndarray | None = None, **more: str
) -> tuple[float, float, float]:
    """(recall and precision of the rare class, accuracy over all) on the test set."""
    if added is not None:
        images = np.concatenate([images, added])
        labels = np.concatenate([labels, np.full(len(added), given.rare)])
    seen = CLASSIFIERS[given.classifier](**more).fit(flat(images), labels).predict(test_x)
    rare = {"labels": [given.rare], "average": "macro", "zero_division": 0}
    return (
        float(recall_score(test_y, seen, **rare)),
        float(precision_score(test_y, seen, **rare)),
        float((seen == test_y).mean()),
    )


measured, added_counts = [], []
for repeat in range(given.repeats):
    images, labels, more_real = real_rows(repeat)
    added = synthetic_rows(images, labels)
    added_counts.append(len(added))
    measured.append(
        [
            figures(images, labels),
            figures(images, labels, class_weight="balanced"),
            figures(images, labels, added),
            figures(images, labels, more_real),
        ]
    )
results = 100 * np.array(measured)  # [repeats, arms, figures], in percent


def with_interval(values: np.ndarray) -> str:
    """The mean over repeats, and half of its 95 % t-interval."""
    if len(values) < 2:
        return f"{values.mean():.1f}"
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.1f} ± {half:.1f}"


table = Table(
    "training rows", f"recall of {given.rare}", f"precision of {given.rare}", "accuracy",
    title=f"{given.have} real rows of {given.rare}, {given.others} of each other digit\n"
    f"{given.classifier}, {given.repeats} repeats, {len(test_y)} test images; %",
)  # fmt: skip
for arm, name in enumerate(ARMS):
    table.add_row(name, *(with_interval(results[:, arm, k]) for k in range(3)))
Console().print(table)

gain = results[:, 2] - results[:, 0]  # paired: the same real rows
recall, precision, accuracy = (with_interval(gain[:, k]) for k in range(3))
print(f"{np.mean(added_counts):.0f} synthetic rows gain, in points:")
print(f"  {recall} of recall, {precision} of precision, {accuracy} of accuracy")
client.close()
