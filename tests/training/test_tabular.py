"""Tables for networks: what is read, how columns are fitted, what is known of rows, the players."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError

from service.contract import CategoricalColumn, NumericColumn
from service.domain.rows import TableCodec
from training.data_files import DataError
from training.tabular.conditions import Conditions
from training.tabular.export import draw_encoded, folded, generate_function, match_marginals
from training.tabular.networks import RowCritic, RowGenerator, RowShape, gumbel, held, soften
from training.tabular.table import TableConfig, load_splits, load_table
from training.tabular.transform import TransformTable, cells_of, fit_columns, table_of

N = 400


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Parquet file of every kind of column, with missing values, sorted by age."""
    draw = np.random.default_rng(0)
    age = np.sort(draw.integers(18, 90, N))
    debt = np.where(draw.random(N) < 0.6, 0.0, np.round(draw.exponential(900, N), 2))
    table = pa.table(
        {
            "age": pa.array(age),
            "debt": pa.array(debt, mask=draw.random(N) < 0.1),
            "rooms": pa.array(draw.integers(1, 5, N)),
            "home": pa.array(draw.choice(["rent", "own", "other"], N, p=[0.5, 0.45, 0.05])),
            "job": pa.array(draw.choice(["a", "b"], N), mask=draw.random(N) < 0.2),
            "postcode": pa.array(draw.integers(1000, 1003, N)),
        }
    )
    path = tmp_path_factory.mktemp("tables") / "people.parquet"
    pq.write_table(table, path)
    return path


@pytest.fixture(scope="module")
def config(people: Path) -> TableConfig:
    return TableConfig(path=people, target="home", categorical=("postcode",))


@pytest.fixture(scope="module")
def fitted(config: TableConfig):
    splits = load_splits(config, seed=0)
    data = fit_columns(splits.train, config=TransformTable(modes=4), target="home", seed=0)
    return splits, data, cells_of(splits.train, data)


def test_splits_are_disjoint_and_the_test_part_is_the_same_for_every_run(config):
    ones, others = load_splits(config, seed=0), load_splits(config, seed=1)
    np.testing.assert_array_equal(ones.test.columns["age"], others.test.columns["age"])
    assert [len(part) for part in (ones.train, ones.held_out, ones.test)] == [288, 32, 80]
    ages = np.concatenate([p.columns["age"] for p in (ones.train, ones.held_out, ones.test)])
    np.testing.assert_array_equal(np.sort(ages), load_table(config).columns["age"])
    assert abs(ones.test.columns["age"].mean() - ages.mean()) < 8  # though the file is sorted


def test_columns_are_fitted_to_what_they_hold(fitted):
    _, data, _ = fitted
    kinds = {column.name: column for column in data.columns}
    assert isinstance(kinds["age"], NumericColumn)
    assert kinds["age"].integer
    assert kinds["debt"].values == (0.0,)  # so many that it has a choice of its own
    assert kinds["debt"].nullable
    assert kinds["debt"].decimals == 2
    assert kinds["rooms"].values == (1.0, 2.0, 3.0, 4.0)
    assert not kinds["rooms"].modes
    assert isinstance(kinds["postcode"], CategoricalColumn)
    assert kinds["postcode"].categories == ("1000", "1001", "1002")
    assert kinds["job"].nullable
    assert data.label_column == "home"


def test_training_rows_come_back_from_their_encoding(fitted):
    _, data, cells = fitted
    codec = TableCodec(data)
    np.testing.assert_array_equal(codec.decode(codec.encode(cells)), cells)


def test_cells_become_the_table_again(fitted):
    splits, data, cells = fitted
    again = table_of(cells, data)
    for name, values in splits.train.columns.items():
        np.testing.assert_array_equal(again.columns[name], values)
    assert again.integer == splits.train.integer


def test_csv_is_read_like_parquet(people, config, tmp_path):
    path = tmp_path / "people.csv"
    pa_csv.write_csv(pq.read_table(people), path)
    ours, theirs = load_table(config.model_copy(update={"path": path})), load_table(config)
    for name, values in theirs.columns.items():
        np.testing.assert_array_equal(ours.columns[name], values)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"path": "nowhere.parquet"}, "does not exist"),
        ({"path": __file__}, "neither a .parquet nor a .csv"),
        ({"target": "colour"}, "no column 'colour'; it has age"),
        ({"limit": 60, "holdout": 0.01}, "too few"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_words(config, fields, words):
    with pytest.raises(DataError, match=words):
        load_splits(TableConfig(**config.model_dump(exclude_none=True) | fields), seed=0)


def test_a_numeric_target_is_refused(fitted):
    with pytest.raises(DataError, match=r"holds numbers: name it in data\.categorical"):
        fit_columns(fitted[0].train, config=TransformTable(), target="age", seed=0)


def test_a_source_is_a_name_or_a_path():
    with pytest.raises(ValidationError, match="either 'name' or 'path'"):
        TableConfig()


def conditions_of(data, cells, **shares) -> Conditions:
    rows = torch.from_numpy(TableCodec(data).encode(cells))
    return Conditions(rows, RowShape.of(data), **shares)


def test_a_known_choice_is_drawn_by_the_logarithm_of_its_frequency(fitted):
    _, data, cells = fitted
    conditions = conditions_of(data, cells, one_known=1.0, some_known=0.0)
    known = conditions.draw(6000, torch.Generator().manual_seed(0))
    assert (known.mask.sum(1) == 1).all()
    # Columns that are a choice alone: rooms, home, job, postcode; never a number with modes.
    assert known.mask.sum(0).bool().tolist() == [False, False, True, True, True, True]
    block = TableCodec(data).blocks[3]
    shown = known.rows[known.mask[:, 3] == 1][:, block.choices].mean(0).numpy()
    counts = np.bincount(cells[:, 3].astype(int))
    wanted = np.log(counts + 1) / np.log(counts + 1).sum()
    np.testing.assert_allclose(shown, wanted, atol=4 * np.sqrt(0.25 / (6000 / 4)))


def test_shares_of_what_is_known_are_kept_and_rows_are_real(fitted):
    _, data, cells = fitted
    conditions = conditions_of(data, cells, one_known=0.25, some_known=0.5)
    known = conditions.draw(400, torch.Generator().manual_seed(1))
    nothing = (known.mask.sum(1) == 0).sum()
    assert 100 <= nothing <= 100 + 80  # a random part may be empty
    real = {row.tobytes() for row in TableCodec(data).encode(cells)}
    assert all(row.numpy().tobytes() in real for row in known.rows)


def test_gumbel_noise_has_gumbels_distribution():
    noise = gumbel(torch.randn(200_000, 1, generator=torch.Generator().manual_seed(0)))[:, 0]
    assert abs(float(noise.mean()) - 0.5772) < 4 * 1.2825 / np.sqrt(200_000)
    assert abs(float(noise.std()) - 1.2825) < 0.02
    assert torch.isfinite(gumbel(torch.tensor([[-40.0, 40.0]]))).all()


def test_softened_choices_are_shares_and_keep_alpha(fitted):
    _, data, _ = fitted
    shape = RowShape.of(data)
    x = torch.randn(5, shape.width, generator=torch.Generator().manual_seed(0))
    soft = soften(x, shape=shape, temperature=0.2)
    for block in TableCodec(data).blocks:
        torch.testing.assert_close(soft[:, block.choices].sum(1), torch.ones(5))
        assert torch.equal(soft[:, block.choices].argmax(1), x[:, block.choices].argmax(1))
        if block.alpha is not None:
            assert torch.equal(soft[:, block.alpha], x[:, block.alpha])


def test_a_mask_of_columns_covers_their_entries(fitted):
    _, data, _ = fitted
    shape = RowShape.of(data)
    covered = held(torch.eye(shape.columns), shape=shape)
    assert covered.sum(1).tolist() == list(shape.widths)
    assert (covered.sum(0) == 1).all()


def test_the_critic_judges_packs(fitted):
    _, data, _ = fitted
    shape = RowShape.of(data, pack=5, critic=8)
    logits = RowCritic(shape)(torch.zeros(20, shape.width + shape.columns))
    assert logits.shape == (4,)


def test_the_exported_graph_is_the_folded_generator_and_has_no_batch(fitted):
    _, data, cells = fitted
    shape = RowShape.of(data, latent=4, hidden=16, depth=1)
    torch.manual_seed(0)
    generator = RowGenerator(shape).train()
    for _ in range(3):  # batch norms see something
        generator(torch.randn(50, shape.z_size), torch.zeros(50, shape.width), torch.zeros(50, 6))
    plain = folded(generator)
    z = torch.randn(7, shape.z_size)
    nothing = torch.zeros(7, shape.width), torch.zeros(7, shape.columns)
    torch.testing.assert_close(
        plain(z, *nothing), generator.eval()(z, *nothing), atol=1e-4, rtol=1e-4
    )
    function, worst = generate_function(plain, data, z_size=shape.z_size)
    assert worst < 1e-4
    assert b"/training/" not in function.graph
    assert [t.role for t in function.inputs] == ["latent", "clamp_values", "clamp_mask"]


def test_matched_marginals_have_the_training_quantiles(fitted):
    _, data, cells = fitted
    shape = RowShape.of(data, latent=4, hidden=16, depth=1)
    torch.manual_seed(0)
    generator = RowGenerator(shape).eval()
    encoded = draw_encoded(generator, data, z_size=shape.z_size, n=5000, seed=0)
    matched = match_marginals(data, encoded, train=cells)
    made = TableCodec(matched).decode(encoded)[:, 0]
    at = np.linspace(0.02, 0.98, 25)
    np.testing.assert_allclose(np.quantile(made, at), np.quantile(cells[:, 0], at), atol=1.5)
    assert matched.columns[2] == data.columns[2]  # choices are left as they are
