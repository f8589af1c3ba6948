"""The recipe of a tabular GAN, end to end on a small table; resuming; what stops a training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from service.contract import TableData, read_package
from service.domain.rows import TableCodec
from service.queries import Call, InpaintRows, Sample
from service.reports.reference import read_table_reference
from tests.augmentation.orders import engine_of
from training.config import ConfigError, Workspace, load_config, validate
from training.package import Package
from training.recipes.tabular import RECIPE
from training.reference import give_reference, referenced
from training.run import Interrupted, Run, TrainingDiverged
from training.tabular.conditions import Conditions
from training.tabular.config import EvaluateTable, TabularConfig
from training.tabular.figures import RowSplits, row_figures, sample_cells
from training.tabular.learning import judge_and_keep, train_rows
from training.tabular.likeness import likeness
from training.tabular.players import RowPlayers
from training.tabular.table import TableConfig, load_splits
from training.tabular.transform import cells_of

N = 300


def recipe(path: Path, **train) -> dict:
    steps = {"steps": 8, "batch": 20, "judge_every": 4, "save_every": 2, "log_every": 2}
    return {
        "name": "people", "kind": "tabular", "seed": 3,
        "data": {"path": str(path), "target": "home"},
        "transform": {"modes": 3},
        "model": {"latent": 4, "hidden": 16, "critic": 16, "pack": 2, "depth": 1},
        "train": steps | train,
        "evaluate": {"utility": ["home", "age"], "trees": 5, "rows": 60},
    }  # fmt: skip


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = np.random.default_rng(0)
    table = pa.table(
        {
            "age": pa.array(draw.integers(18, 90, N)),
            "pay": pa.array(np.round(draw.normal(50, 9, N), 1), mask=draw.random(N) < 0.2),
            "home": pa.array(draw.choice(["rent", "own"], N)),
        }
    )
    path = tmp_path_factory.mktemp("people") / "people.parquet"
    pq.write_table(table, path)
    return path


def workspace(folder: Path) -> Workspace:
    return Workspace(
        run=folder / "run", store=folder / "store", device="cpu", resume=False, smoke=True,
        command="reverie train people.toml",
    )  # fmt: skip


@pytest.fixture(scope="module")
def published(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    _, config = validate(recipe(people), where="test")
    return RECIPE.train(config, workspace(tmp_path_factory.mktemp("work")))


def test_the_package_says_what_it_is_worth_beside_real_rows(published):
    package = Package(published)
    figures = {q.name: q for q in package.manifest.quality}
    assert list(figures) == [
        "column_shapes", "column_shapes_least", "pair_trends", "detection_auc", "usefulness_home",
        "usefulness_age", "copies_of_training", "filled_words", "filled_numbers",
    ]  # fmt: skip
    assert all(0 <= figures[name].value <= 1 for name in ("column_shapes", "pair_trends"))
    assert figures["column_shapes"].floor > 0.8
    assert figures["usefulness_home"].floor is not None
    card = package.read("card.md").decode()
    assert "no guarantee" in card
    assert "| pay | numeric |" in card
    assert package.read("preview.png").startswith(b"\x89PNG")
    assert package.manifest.capabilities == ("sample", "inpaint")
    assert package.manifest.labels.names == ("own", "rent")


def test_rows_of_a_table_of_ones_own_are_published_only_when_asked_for(published, people, tmp_path):
    _, config = validate(recipe(people), where="test")
    assert give_reference(published, RECIPE, config) == published
    before = read_package(published)
    assert before.reference is None
    copied = shutil.copytree(published, tmp_path / config.name / str(config.version))
    after = read_package(referenced(copied))
    assert after.digest == before.digest
    real = read_table_reference(copied, after)
    assert tuple(real.train.columns) == ("age", "pay", "home")
    assert real.source.startswith("people: ")


def test_figures_can_be_had_again_from_the_package(published, people):
    _, config = validate(recipe(people), where="test")
    again = RECIPE.evaluate(published, config, False, "cpu")
    first = Package(published).manifest.quality
    assert [q.value for q in again] == [q.value for q in first]


async def test_the_service_gives_the_rows_that_training_judged(published):
    package = Package(published)
    ours = sample_cells(package, n=40, seed=11)
    async with engine_of(published.parents[1]) as engine:
        model = engine.registry.get("people")
        served = await engine.run(model, Sample(n=40, seed=11), Call())
        known = np.ones((1, 3), np.bool_)
        known[0, 1] = False
        filled = await engine.run(model, InpaintRows(rows=ours[:1], known=known, seed=1), Call())
    assert served.samples.tobytes() == ours.tobytes()
    assert not np.isnan(filled.samples).any()


def test_a_resumed_training_goes_on_bit_for_bit(people, tmp_path):
    config = TabularConfig.model_validate(recipe(people))

    def run(folder: str, *, stops: bool) -> RowPlayers:
        asked = iter([False, False, False, True] if stops else [])
        opened = Run(tmp_path / folder, resume=(tmp_path / folder).exists(), config={})
        try:
            return train_rows(
                conditions, shape=shape, config=config.train, seed=0, run=opened,
                judge=lambda generator, step: {"judge__overall": 0.5, "judge__different": 1.0},
                stop=lambda: next(asked, False),
            )  # fmt: skip
        finally:
            opened.close()

    shape, conditions = of_the_table(config)
    whole = run("whole", stops=False)
    with pytest.raises(Interrupted, match="stopped at step 4 of 8"):
        run("parts", stops=True)
    parts = run("parts", stops=False)
    for name, weights in whole.average.state_dict().items():
        assert torch.equal(parts.average.state_dict()[name], weights), name


def of_the_table(config: TabularConfig):
    from training.tabular.table import load_splits
    from training.tabular.transform import cells_of, fit_columns

    splits = load_splits(config.data, seed=0)
    data = fit_columns(splits.train, config=config.transform, target="home", seed=0)
    shape = config.shape(data)
    rows = torch.from_numpy(TableCodec(data).encode(cells_of(splits.train, data)))
    return shape, Conditions(rows, shape, one_known=0.25, some_known=0.25)


@pytest.mark.parametrize("loss", ["wasserstein", "non_saturating"])
def test_other_games_can_be_played(people, tmp_path, loss):
    config = TabularConfig.model_validate(recipe(people, loss=loss, steps=2))
    shape, conditions = of_the_table(config)
    run = Run(tmp_path, resume=False, config={})
    players = train_rows(
        conditions, shape=shape, config=config.train, seed=0, run=run,
        judge=lambda generator, step: {"judge__overall": 0.5, "judge__different": 1.0},
    )  # fmt: skip
    run.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert any("loss__d" in line for line in lines)
    assert players.best["step"] == 2


def test_a_training_that_makes_the_same_rows_stops_with_a_remedy(people, tmp_path):
    config = TabularConfig.model_validate(recipe(people))
    shape, _ = of_the_table(config)
    players = RowPlayers.fresh(shape, betas=(0.0, 0.9), seed=0, device=torch.device("cpu"))
    run = Run(tmp_path, resume=False, config={})
    with pytest.raises(TrainingDiverged, match=r"the same rows again and again.*train\.gamma"):
        judge_and_keep(
            players, step=2000, run=run,
            judge=lambda generator, step: {"judge__overall": 0.1, "judge__different": 0.001},
        )  # fmt: skip
    run.close()


def test_packs_must_fill_a_batch(people):
    with pytest.raises(ConfigError, match=r"train\.batch=21 is no multiple of model\.pack=2"):
        validate(recipe(people, batch=21), where="test")


@pytest.mark.parametrize("name", ["diamonds-gan", "credit-gan"])
def test_published_recipes_are_valid_and_have_a_smoke_run(name):
    configs = Path(__file__).resolve().parents[2] / "training" / "configs"
    _, config = load_config(configs / f"{name}.toml")
    _, tiny = load_config(configs / f"{name}.toml", smoke=True)
    assert config.name == tiny.name == name
    assert tiny.train.steps < 100 < config.train.steps


def test_equal_tables_are_alike_in_everything_and_a_shifted_column_is_told(published):
    data = Package(published).manifest.data
    assert isinstance(data, TableData)
    draw = np.random.default_rng(0)
    cells = np.stack(
        [draw.integers(18, 90, 500), draw.normal(50, 9, 500), draw.integers(0, 2, 500)], 1
    ).astype(np.float64)
    assert likeness(data, real=cells, made=cells).overall == 1.0
    moved = cells.copy()
    moved[:, 1] += 1000
    told = likeness(data, real=cells, made=moved)
    assert told.shapes["pay"] == 0.0
    assert told.shapes["age"] == 1.0
    assert told.trends["age", "pay"] == pytest.approx(1.0)  # a shift leaves correlations alone


def test_a_cell_missing_where_no_training_row_had_a_null_is_no_obstacle(published, people):
    package = Package(published)
    data = package.manifest.data
    assert isinstance(data, TableData)
    assert not data.column("age").nullable
    splits = load_splits(TableConfig(path=people, target="home"), seed=3)
    rows = RowSplits(*(cells_of(t, data) for t in (splits.train, splits.held_out, splits.test)))
    rows.test[:5, 0] = np.nan
    table = EvaluateTable(utility=("home",), trees=5, rows=60)
    figures = row_figures(package, rows, table=table, command="")
    assert all(np.isfinite(figure.value) for figure in figures)
