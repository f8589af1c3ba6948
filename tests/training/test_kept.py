"""What a benchmark has finished is read again, and other settings are refused."""

import pytest

from training.benchmarks.kept import kept_or_done
from training.run import RunConflict


def test_what_is_finished_is_not_done_again(tmp_path):
    path, calls = tmp_path / "some" / "where.json", []

    def compute():
        calls.append(1)
        return {"figure": 0.5}

    settings = {"seeds": (0, 1), "rate": 0.1}
    first = kept_or_done(path, made_from=settings, compute=compute)
    assert kept_or_done(path, made_from=settings, compute=compute) == first == {"figure": 0.5}
    assert len(calls) == 1
    assert [p.name for p in path.parent.iterdir()] == ["where.json"]


def test_other_settings_are_refused_with_a_remedy(tmp_path):
    kept_or_done(tmp_path / "a.json", made_from={"seed": 1}, compute=lambda: {"a": 1})
    with pytest.raises(RunConflict, match=r"a\.json comes from other settings.*--fresh"):
        kept_or_done(tmp_path / "a.json", made_from={"seed": 2}, compute=lambda: {"a": 1})


def test_what_fails_keeps_nothing(tmp_path):
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        kept_or_done(tmp_path / "a.json", made_from={}, compute=fail)
    assert not list(tmp_path.iterdir())
