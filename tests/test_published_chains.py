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
    "203 sweeps": (Sample(n=5, seed=7, burn_in=203), "1a6fa311611a"),
    "0/1 values": (Sample(n=40, seed=8, burn_in=37, values="sample"), "824b7d435801"),
    "temperature": (Sample(n=1, seed=3, burn_in=400, temperature=1.3), "53415d8630b4"),
}


@pytest.mark.parametrize("case", PINNED)
async def test_a_seed_means_for_ever_what_it_meant_when_the_model_was_published(case):
    query, digest = PINNED[case]
    settings = Settings(_env_file=None, models_store=STORE, device="cpu", pool_rows=0)
    engine = await open_engine(settings, only="mnist-rbm")
    drawn = await engine.run(engine.registry.get("mnist-rbm@1"), query, Call.lasting(60))
    assert sha256_of(np.ascontiguousarray(drawn.samples).tobytes())[:12] == digest
    await engine.stop()
