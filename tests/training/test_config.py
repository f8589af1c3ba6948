"""Recipes: what they accept, how they are overridden, and what they say of a mistake."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.config import ConfigError, load_config, merge, parse_override, validate
from training.rbm_config import RbmConfig

RECIPE = """
name = "small"
kind = "rbm"
seed = 7
[data]
name = "digits"
[train]
phases = [{ epochs = 3 }]
[smoke.train]
phases = [{ epochs = 1 }]
[smoke.data]
limit = 50
"""
CONFIGS = Path(__file__).parents[2] / "training" / "configs"


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return path


def test_a_recipe_is_checked_by_its_kind_and_has_defaults(recipe):
    _, config = load_config(recipe)
    assert isinstance(config, RbmConfig)
    assert config.seed == 7
    assert config.version == 1
    assert config.model.hidden == 500
    assert config.train.phases[0].epochs == 3
    assert config.data.limit is None


def test_smoke_applies_its_table_and_set_comes_last(recipe):
    _, config = load_config(recipe, ["data.limit=60", "model.hidden=9"], smoke=True)
    assert config.train.phases[0].epochs == 1
    assert config.data.limit == 60
    assert config.model.hidden == 9


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("a=1", {"a": 1}),
        ("a.b=0.5", {"a": {"b": 0.5}}),
        ("a.b = true", {"a": {"b": True}}),
        ("a=[1, 2]", {"a": [1, 2]}),
        ("a={b = 1}", {"a": {"b": 1}}),
        ('a="x"', {"a": "x"}),
        ("a=mnist", {"a": "mnist"}),
        ("a=x=y", {"a": "x=y"}),
    ],
)
def test_an_override_is_a_dotted_key_and_a_toml_value(override, expected):
    assert parse_override(override) == expected


@pytest.mark.parametrize("override", ["epochs", "=3", "a..b=1", "a b=1", "1a=2", ""])
def test_what_is_no_override_says_how_to_write_one(override):
    with pytest.raises(ConfigError, match=r"train\.epochs=3"):
        parse_override(override)


trees = st.recursive(
    st.integers(), lambda below: st.dictionaries(st.sampled_from("abc"), below, max_size=3)
).filter(lambda tree: isinstance(tree, dict))


@given(trees, trees)
def test_merging_keeps_what_is_not_overridden(base, over):
    before = repr(base)
    merged = merge(base, over)
    assert merge(merged, over) == merged
    assert set(merged) == set(base) | set(over)
    assert all(merged[k] == base[k] for k in base.keys() - over.keys())
    assert repr(base) == before


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (["train.epochs=3"], r"train\.epochs is not a key"),
        (["model.hidden=0"], r"model\.hidden.*greater than or equal to 1, not 0"),
        (["kind=ebm"], "kind 'ebm' is not known: use one of rbm"),
        (["data.name=mnits"], r"data\.name"),
        (["seed=-1"], "seed"),
        (["name=Bad Name"], "name"),
        (["train.phases=[]"], r"train\.phases"),
        (["train=3"], "train"),
        (["data.holdout=5"], "at least 20"),
    ],
)
def test_a_mistake_is_named_with_its_key(recipe, change, complaint):
    with pytest.raises(ConfigError, match=complaint):
        load_config(recipe, change)


def test_a_missing_or_broken_file_is_told(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "x.toml").write_text("a = = 1")
    with pytest.raises(ConfigError, match="not TOML"):
        load_config(tmp_path / "x.toml")
    (tmp_path / "y.toml").write_text("a = 1")
    with pytest.raises(ConfigError, match="'kind' is missing"):
        load_config(tmp_path / "y.toml")
    (tmp_path / "z.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "z.toml")


def test_a_recipe_survives_its_journey_through_json(recipe):
    _, config = load_config(recipe)
    assert validate(config.model_dump(mode="json"), where="here")[1] == config


def test_what_decides_the_weights_leaves_evaluation_out(recipe):
    first = load_config(recipe)[1].trained_part()
    assert first == load_config(recipe, ["evaluate.betas=5", "export.bits=16"])[1].trained_part()
    assert first != load_config(recipe, ["train.momentum=0.9"])[1].trained_part()


@pytest.mark.parametrize("smoke", [False, True])
def test_the_published_recipe_is_valid(smoke):
    _, config = load_config(CONFIGS / "mnist-rbm.toml", smoke=smoke)
    assert config.name == "mnist-rbm"
