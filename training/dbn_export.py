"""From a trained deep belief network to a published package.

TrainedDbn (float32) ──quantise──► graphs ──► publish_dbn ──► package   check_parity ──► or not
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from service.contract import Defaults, ImageData, Labels, PackageError, Quality
from service.domain.randomness import logistic
from training.belief_graphs import dbn_functions
from training.boltzmann_package import blank_preview, calibrated_score, label_names, samples_png
from training.config import Workspace
from training.dbm import binary_entropy
from training.dbn import Dbn, log_bernoulli
from training.dbn_card import TrainedDbn, dbn_card, summary
from training.dbn_config import DbnConfig
from training.dbn_weights import weights_file
from training.label_units import log_evidence
from training.package import Package, publish
from training.provenance import provenance
from training.quantised_network import QuantisedDbn, reference_sweep
from training.rbm import base_rate_bias

BASE_RATE_IMAGES = 5000
PARITY_CHAINS = 32
PARITY_SWEEPS = 50
# float32 sums of some thousand products, taken in another order.
BOUND_TOLERANCE_NATS = 0.05


def publish_dbn(
    store: Path,
    config: DbnConfig,
    workspace: Workspace,
    trained: TrainedDbn,
    dbn: QuantisedDbn,
    *,
    figures: Sequence[Quality],
    draft: Package | None = None,
) -> Path:
    """Write the package under `store`; with a sheet of samples, where a `draft` can draw it.

    `dbn` is `trained` in whole numbers, with its guide.
    """
    functions = dbn_functions(
        dbn,
        base_bias=_base_bias(dbn, trained),
        shape=trained.train.shape,
        classifier=trained.classifier,
    )
    facts = provenance(
        config, workspace, steps=trained.steps, seconds=trained.seconds, weight_bits=dbn.top.bits
    )
    preview = blank_preview(trained.held_out)
    if draft is not None:
        preview = samples_png(
            draft, burn_in=config.export.burn_in, seed=config.seed, labels=dbn.labels
        )
    named = dbn.labels or trained.classifier is not None
    return publish(
        store,
        name=config.name,
        version=config.version,
        family="dbn",
        description=summary(config, dbn),
        data=ImageData(shape=trained.train.shape),
        labels=Labels(names=label_names(trained.train)) if named else None,
        functions=functions,
        scores=(
            calibrated_score(
                functions["score"], method="negative_bound", held_out=trained.held_out
            ),
        ),
        defaults=Defaults(burn_in=config.export.burn_in, truncation=None),
        quality=figures,
        provenance=facts,
        card=dbn_card(config, dbn, trained, figures, facts, drawn=draft is not None),
        preview=preview,
        weights=weights_file(dbn),
    )


def check_parity(package: Package, dbn: QuantisedDbn, *, seed: int) -> None:
    """Hold a package's graphs against the network in 64-bit and float32 arithmetic.

    The chain must agree bit for bit, under labels and temperatures; scores as far as float32 sums
    do.

    Raises:
        PackageError: it does not; says where.
    """
    rng = np.random.default_rng(seed)
    n = PARITY_CHAINS
    h = (rng.random((n, dbn.units)) < 0.5).astype(np.uint8)
    label = rng.integers(0, max(dbn.labels, 1), n)
    fixed = {"label": label} if dbn.labels else {}
    beta = rng.uniform(0.5, 2.0, (n, 1)).astype(np.float32)
    for step in range(PARITY_SWEEPS):
        sizes = {"noise_top": dbn.top.hidden, "noise_h": dbn.units}
        noise = {
            name: logistic(rng.integers(0, 65_536, (n, units), np.uint16))
            for name, units in sizes.items()
        }
        found = package.run("sweep", h=h, beta=beta, **noise, **fixed)["next_h"]
        expected = reference_sweep(dbn, h, label=label, noise=noise, beta=beta)
        if not np.array_equal(found, expected):
            raise PackageError(f"sweep {step} has {int((found != expected).sum())} units wrong")
        h = expected
    x = rng.random((n, *package.manifest.functions["score"].inputs[0].row_shape), dtype=np.float32)
    exact = mean_field_bound(
        dbn.dequantised().to(torch.float64), torch.from_numpy(x.reshape(n, -1)).double()
    )
    worst = float(np.abs(package.run("score", x=x)["negative_bound"] + exact.numpy()).max())
    if not worst <= BOUND_TOLERANCE_NATS:
        raise PackageError(f"score differs from the one in torch by {worst:.3g} nats")


def mean_field_bound(dbn: Dbn, x: torch.Tensor) -> torch.Tensor:
    """What `score` is the negative of: the bound's integrand, with every layer at its mean."""
    total = torch.zeros(len(x), dtype=x.dtype)
    for layer in dbn.layers:
        mu = torch.sigmoid(layer.recognise(x))
        total = total + log_bernoulli(x, layer.generate(mu)) + binary_entropy(mu).sum(1)
        x = mu
    return total + log_evidence(dbn.top, x, labels=dbn.labels)


def _base_bias(dbn: QuantisedDbn, trained: TrainedDbn) -> np.ndarray[tuple[int, int], np.dtype]:
    """Log-odds of the topmost directed layer's mean activities over training images, by label."""
    part = trained.train.take(slice(BASE_RATE_IMAGES))
    x = torch.from_numpy(part.images.reshape(len(part), -1))
    for layer in dbn.dequantised().layers:
        x = torch.sigmoid(layer.recognise(x))
    means = [x.mean(0)]
    if dbn.labels and part.labels is not None:
        held = torch.from_numpy(part.labels)
        means = [x[held == y].mean(0) if (held == y).any() else x.mean(0)
                 for y in range(dbn.labels)]  # fmt: skip
    bias: np.ndarray[tuple[int, int], np.dtype] = torch.stack(
        [base_rate_bias(mean) for mean in means]
    ).numpy()
    return bias
