"""The published machine's seeds give the same bytes in every version of the service."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from service.contract import sha256_of
from service.engine import open_engine
from service.queries import Call, Sample
from service.settings import Settings

STORE = Path(__file__).parents[1] / "models_store"
PINNED = {
    "203 sweeps": (Sample(n=5, seed=7, burn_in=203), "f09ccf4b65c9"),
    "0/1 values": (Sample(n=40, seed=8, burn_in=37, values="sample"), "2a036d96a497"),
    "temperature": (Sample(n=1, seed=3, burn_in=400, temperature=1.3), "195b3acb6e32"),
}


@pytest.mark.parametrize("case", PINNED)
async def test_a_seed_means_for_ever_what_it_meant_when_the_model_was_published(case):
    query, digest = PINNED[case]
    settings = Settings(_env_file=None, models_store=STORE, device="cpu", pool_rows=0)
    engine = await open_engine(settings, only="mnist-rbm")
    drawn = await engine.run(engine.registry.get("mnist-rbm@2"), query, Call.lasting(60))
    assert sha256_of(np.ascontiguousarray(drawn.samples).tobytes())[:12] == digest
    await engine.stop()
