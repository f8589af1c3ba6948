"""Operations on real packages: what they mean, what they promise, and what they refuse."""

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine import open_engine
from service.errors import InvalidInput, MissingCapability, NotReady
from service.queries import (
    Call,
    Classify,
    Encode,
    ImagePoint,
    Inpaint,
    Interpolate,
    LatentPoint,
    Reconstruct,
    Sample,
    Score,
    SeedPoint,
)
from service.settings import Settings

BOTH = ("tiny-gan", "tiny-rbm")
HOLE = np.zeros((1, 4, 4), np.float32)
HOLE[:, 1:3, 1:3] = 1


@pytest.fixture
async def engine(tiny_store):
    made = await open_engine(Settings(models_store=tiny_store, device="cpu"))
    yield made
    await made.stop()


async def ask(engine, model, query, **call):
    return await engine.run(engine.registry.get(model), query, Call.lasting(30, **call))


def images(n=2):
    return np.random.default_rng(0).random((n, 1, 4, 4), dtype=np.float32)


@pytest.mark.parametrize("model", BOTH)
async def test_samples_are_images_in_data_space(engine, model):
    result = await ask(engine, model, Sample(n=5))
    assert result.samples.shape == (5, 1, 4, 4)
    assert result.samples.dtype == np.float32
    assert 0 <= result.samples.min() <= result.samples.max() <= 1
    if result.diagnostics is None or result.diagnostics.chain_age_sweeps is None:
        assert 0 <= result.seed < 2**53
    else:
        assert result.seed is None


@pytest.mark.parametrize("model", BOTH)
async def test_row_i_is_the_same_bytes_alone_as_a_prefix_and_in_company(engine, model):
    alone = await ask(engine, model, Sample(n=3, seed=11))
    crowd = [ask(engine, model, Sample(n=k, seed=k)) for k in range(1, 30)]
    *_, beside, longer = await asyncio.gather(
        *crowd, ask(engine, model, Sample(n=3, seed=11)), ask(engine, model, Sample(n=40, seed=11))
    )
    assert alone.samples.tobytes() == beside.samples.tobytes()
    assert alone.samples.tobytes() == longer.samples[:3].tobytes()


@settings(deadline=None, max_examples=15)
@given(
    companions=st.lists(
        st.tuples(st.sampled_from(BOTH), st.integers(1, 20), st.integers(0, 3), st.booleans()),
        max_size=8,
    ),
    n=st.integers(1, 12),
)
def test_no_companion_join_or_cancellation_changes_a_seeded_answer(tiny_store, companions, n):
    async def check():
        engine = await open_engine(Settings(models_store=tiny_store, device="cpu"))
        mine = [(m, Sample(n=n, seed=5)) for m in BOTH]
        mine += [(m, Inpaint(images=images(), mask=HOLE, n=2, seed=5)) for m in BOTH]
        alone = [(await ask(engine, *query)).samples.tobytes() for query in mine]
        tasks = []
        for model, rows, seed, _ in companions:
            tasks.append(asyncio.create_task(ask(engine, model, Sample(n=rows, seed=seed))))
            await asyncio.sleep(0)
        asked = [asyncio.create_task(ask(engine, *query)) for query in mine]
        await asyncio.sleep(0)
        for task, (*_, cancelled) in zip(tasks, companions, strict=True):
            if cancelled:
                task.cancel()
        beside = [(await task).samples.tobytes() for task in asked]
        await asyncio.gather(*tasks, return_exceptions=True)
        await engine.stop()
        return alone == beside

    assert asyncio.run(check())


async def test_truncation_draws_a_gans_samples_together(engine):
    wide = await ask(engine, "tiny-gan", Sample(n=64, seed=1))
    narrow = await ask(engine, "tiny-gan", Sample(n=64, seed=1, truncation=0.1))
    assert narrow.samples.std(axis=0).mean() < 0.3 * wide.samples.std(axis=0).mean()


async def test_latents_stand_in_for_a_seed(engine):
    z = np.random.default_rng(3).standard_normal((4, 4)).astype(np.float32)
    result = await ask(engine, "tiny-gan", Sample(latents=z))
    assert result.samples.shape == (4, 1, 4, 4)
    assert result.seed is None


async def test_temperature_flattens_an_energy_models_samples(engine):
    cold = (await ask(engine, "tiny-rbm", Sample(n=64, seed=1, temperature=0.1))).samples
    hot = (await ask(engine, "tiny-rbm", Sample(n=64, seed=1, temperature=50.0))).samples
    assert np.abs(cold - 0.5).mean() > np.abs(hot - 0.5).mean() + 0.2


async def test_sample_values_are_zeros_and_ones(engine):
    drawn = await ask(engine, "tiny-rbm", Sample(n=8, seed=1, values="sample"))
    assert set(np.unique(drawn.samples)) <= {0.0, 1.0}


async def test_chains_report_how_well_they_mixed(engine):
    result = await ask(engine, "tiny-rbm", Sample(n=32, seed=1, burn_in=400))
    assert result.diagnostics.sweeps == 400
    assert result.diagnostics.split_rhat == pytest.approx(1.0, abs=0.1)
    assert result.diagnostics.ess > 100
    short = await ask(engine, "tiny-rbm", Sample(n=2, seed=1, burn_in=3))
    assert short.diagnostics.split_rhat is None


async def test_the_pool_hands_out_particles_that_have_rested(engine):
    first = await ask(engine, "tiny-rbm", Sample(n=64, start="pool"))
    assert first.seed is None
    assert first.diagnostics.chain_age_sweeps >= 100
    second = await ask(engine, "tiny-rbm", Sample(n=64, start="pool"))
    thinning = engine.registry.get("tiny-rbm").pool.thinning
    rested = second.diagnostics.chain_age_sweeps - first.diagnostics.chain_age_sweeps
    assert rested >= thinning
    assert first.samples.tobytes() != second.samples.tobytes()


@pytest.mark.parametrize("model", BOTH)
async def test_a_frame_at_a_seed_is_exactly_that_sample(engine, model):
    sampled = (await ask(engine, model, Sample(n=4, seed=9))).samples
    points = (SeedPoint(9, row=3), SeedPoint(9, row=0))
    path = await ask(engine, model, Interpolate(points=points, frames=7))
    assert path.frames.shape == (7, 1, 4, 4)
    assert path.frames[0].tobytes() == sampled[3].tobytes()
    assert path.frames[-1].tobytes() == sampled[0].tobytes()


async def test_paths_go_through_images_and_latents_and_over_grids(engine):
    z = np.ones(4, np.float32)
    points = (ImagePoint(images(1)[0]), LatentPoint(z), SeedPoint(1))
    path = await ask(engine, "tiny-gan", Interpolate(points=points, frames=5))
    assert np.array_equal(path.latents[2], z)
    corners = tuple(SeedPoint(k) for k in range(4))
    cells = await ask(engine, "tiny-gan", Interpolate(points=corners, grid=(3, 4)))
    assert cells.frames.shape == (12, 1, 4, 4)


@pytest.mark.parametrize("model", BOTH)
async def test_known_pixels_come_back_bit_for_bit(engine, model):
    x = images(3)
    result = await ask(engine, model, Inpaint(images=x, mask=HOLE, n=2, seed=4))
    assert result.samples.shape == (3, 2, 1, 4, 4)
    assert result.hole_fraction == 0.25
    known = HOLE[0] == 0
    for filling in range(2):
        assert result.samples[:, filling, 0, known].tobytes() == x[:, 0, known].tobytes()


@pytest.mark.parametrize("model", BOTH)
async def test_what_lies_in_the_hole_does_not_matter_and_fillings_differ(engine, model):
    x = images(2)
    other = np.where(HOLE[None] == 1, 1 - x, x)
    a = await ask(engine, model, Inpaint(images=x, mask=HOLE, n=3, seed=4))
    b = await ask(engine, model, Inpaint(images=other, mask=HOLE, n=3, seed=4))
    assert a.samples.tobytes() == b.samples.tobytes()
    assert len({a.samples[0, k].tobytes() for k in range(3)}) > 1


@pytest.mark.parametrize("model", BOTH)
async def test_a_filling_depends_on_neither_the_number_of_fillings_nor_of_images(engine, model):
    x = images(3)
    many = await ask(engine, model, Inpaint(images=x, mask=HOLE, n=3, seed=4))
    few = await ask(engine, model, Inpaint(images=x[:2], mask=HOLE, n=1, seed=4))
    assert many.samples[:2, :1].tobytes() == few.samples.tobytes()


@pytest.mark.parametrize("model", BOTH)
async def test_scores_have_p_values_a_threshold_and_heat_maps(engine, model):
    result = await ask(engine, model, Score(images=images(5), explain=True, alpha=0.1))
    assert result.scores.shape == result.p_values.shape == (5,)
    assert ((result.p_values <= 0.1) == result.anomalous).all()
    assert ((result.scores > result.threshold) == result.anomalous).all()
    assert result.heatmaps.shape == (5, 1, 4, 4)
    assert result.n_calibration == 99


async def test_reconstruction_decodes_what_was_encoded(engine):
    sampled = (await ask(engine, "tiny-gan", Sample(n=3, seed=1))).samples
    features = (await ask(engine, "tiny-gan", Encode(images=sampled))).features
    again = (await ask(engine, "tiny-gan", Reconstruct(images=sampled))).images
    decoded = (await ask(engine, "tiny-gan", Sample(latents=features))).samples
    assert again.tobytes() == decoded.tobytes()


@pytest.mark.parametrize(
    ("model", "query", "complaint"),
    [
        ("tiny-gan", Sample(n=5000), "n=5000 exceeds 1024; order it with POST /v1/augmentations"),
        ("tiny-gan", Sample(burn_in=3), "no Markov chain: leave burn_in out"),
        ("tiny-gan", Sample(labels=(1,)), "not conditional"),
        ("tiny-gan", Sample(latents=np.zeros((2, 3), np.float32)), r"must be \[n, 4\]"),
        ("tiny-gan", Sample(latents=np.zeros((2, 4), np.float32), seed=1), "not both"),
        ("tiny-rbm", Sample(truncation=0.5), "leave truncation out"),
        ("tiny-rbm", Sample(burn_in=10**6), "burn_in=1000000 is not between 0 and 10000"),
        ("tiny-gan", Sample(start="pool"), "keeps no pool"),
        ("tiny-rbm", Sample(start="pool", seed=1), "leave seed out, or use start=fresh"),
        ("tiny-rbm", Sample(start="pool", n=65), "n=65 exceeds the 64 chains of the pool"),
        ("tiny-gan", Interpolate(points=(SeedPoint(1),)), "at least 2 points"),
        ("tiny-gan", Interpolate(points=(SeedPoint(1), SeedPoint(2)), frames=999), "999 frames"),
        ("tiny-gan", Interpolate(points=(SeedPoint(1),) * 3, grid=(2, 2)), "needs 4 points"),
        ("tiny-gan", Score(images=images(), method="other"), "'other' is not one of distance"),
        ("tiny-gan", Encode(images=np.zeros((1, 1, 5, 4), np.float32)), r"\[1, 5, 4\] do not fit"),
        ("tiny-rbm", Inpaint(images=images(), mask=HOLE * 0), "no hole"),
        ("tiny-rbm", Inpaint(images=images(), mask=HOLE * 0 + 1), "nothing but a hole"),
        ("tiny-rbm", Inpaint(images=images(), mask=HOLE * 0.5), "0 and 1 alone"),
        ("tiny-rbm", Inpaint(images=images(), mask=np.ones((1, 3, 4), np.float32)), "does not fit"),
        ("tiny-rbm", Inpaint(images=images(3), mask=np.stack([HOLE[0]] * 2)), "2 masks for 3"),
    ],
)
async def test_refusals_name_the_value_the_limit_and_the_remedy(engine, model, query, complaint):
    with pytest.raises(InvalidInput, match=complaint):
        await ask(engine, model, query)


async def test_a_missing_capability_lists_those_that_are_there(engine):
    with pytest.raises(MissingCapability, match="cannot classify; it can sample, interpolate"):
        await ask(engine, "tiny-rbm", Classify(images=images()))


async def test_stopping_lets_work_in_flight_finish_and_refuses_more(tiny_store):
    engine = await open_engine(Settings(models_store=tiny_store, device="cpu"))
    running = asyncio.create_task(ask(engine, "tiny-rbm", Sample(n=4, seed=1, burn_in=2000)))
    while not engine.registry.get("tiny-rbm").running_rows:
        await asyncio.sleep(0)
    stopping = asyncio.create_task(engine.stop())
    while not engine.draining:
        await asyncio.sleep(0)
    with pytest.raises(NotReady):
        await ask(engine, "tiny-rbm", Sample())
    assert (await running).samples.shape == (4, 1, 4, 4)
    await stopping
    assert engine.alive
