"""Reports of images: what is planted must show, and what is fine must not."""

from __future__ import annotations

import numpy as np
import pytest

from service.reports import learners
from service.reports.figures import Figure, Report
from service.reports.image_report import image_report, natural
from service.reports.learners import LearnersMissing
from service.reports.rows import Images, Real, split, split_beside
from service.reports.writing import files_of
from tests.reports.data import ABOUT, bars

TRAIN = bars(300, seed=1)
REAL = split_beside(TRAIN, bars(450, seed=2), limit=300, seed=0, source="bars")


def figure(report: Report, id_: str) -> Figure:
    return next(f for s in report.sections for f in s.figures if f.id == id_)


def joined(a: Images, b: Images) -> Images:
    return Images(np.concatenate([a.pixels, b.pixels]), np.concatenate([a.labels, b.labels]))


@pytest.fixture(scope="module")
def fine() -> Report:
    return image_report(bars(300, seed=3), REAL, None, ABOUT)


@pytest.fixture(scope="module")
def copied() -> Report:
    return image_report(joined(TRAIN.take(slice(150)), bars(150, seed=3)), REAL, None, ABOUT)


def test_new_rows_of_the_same_kind_stand_out_in_nothing(fine):
    assert fine.notices == []
    assert fine.missing == []


def test_every_figure_has_its_real_twin(fine):
    for section in fine.sections:
        assert all(f.value is not None and f.real is not None for f in section.figures)
    for id_ in ("fidelity.precision", "fidelity.recall", "fidelity.coverage", "utility.tstr"):
        assert figure(fine, id_).value == pytest.approx(figure(fine, id_).real, abs=0.15)


def test_copies_of_training_rows_light_up(copied):
    exact = figure(copied, "copies.exact")
    assert exact.value == 0.5
    assert exact.real == 0.0
    assert "150 of 300 rows are exact copies" in exact.notice
    assert figure(copied, "copies.near").notice is not None


def test_the_attack_finds_members_where_rows_were_copied(copied, fine):
    found = figure(copied, "attack.pixels")
    assert found.interval[0] > 0.6
    assert "better than by guessing" in found.notice
    none = figure(fine, "attack.pixels")
    assert none.interval[0] < 0.5 < none.interval[1]


def test_a_class_that_is_missing_shows_in_histogram_coverage_and_utility():
    found = image_report(bars(300, seed=3, classes="a"), REAL, None, ABOUT)
    histogram = found.sections[0].charts[0]
    synthetic = next(s for s in histogram.series if s.name == "synthetic")
    assert synthetic.values[list(histogram.x).index("b")] < 0.02
    assert "A class is missing, or nearly: b" in figure(found, "fidelity.class_distance").notice
    of_b = next(row for row in found.sections[0].grids[0].rows if row[0] == "b")
    assert of_b[4] < 0.5 * of_b[5], "coverage of b"
    taught = next(row for row in found.sections[1].grids[0].rows if row[0] == "b")
    assert taught[2] == 0.0
    assert taught[3] > 0.9
    assert "weak on class b" in figure(found, "utility.tstr").notice


def test_rows_without_labels_get_those_that_a_classifier_of_the_training_rows_sees():
    found = image_report(Images(bars(300, seed=3).pixels), REAL, None, ABOUT)
    assert figure(found, "utility.tstr").value > 0.9
    assert "a classifier of the training rows" in found.sections[1].note


def test_without_real_rows_it_says_what_is_missing():
    found = image_report(bars(80, seed=3), None, None, ABOUT)
    assert [m.what for m in found.missing][1:] == ["utility", "copies", "membership inference"]
    assert found.sections[0].pictures
    assert found.sections[0].charts


def test_without_labels_on_the_real_side_there_is_no_utility_but_all_else():
    blind = split(Images(bars(600, seed=4).pixels), limit=200, seed=0, source="bars")
    found = image_report(Images(bars(200, seed=3).pixels), blind, None, ABOUT)
    assert {m.what for m in found.missing} == {"class histogram", "utility"}
    assert figure(found, "copies.exact").value == 0.0


def test_rows_whose_past_is_not_known_are_told_of_as_such():
    found = image_report(
        bars(200, seed=3), split(bars(600, seed=4), limit=200, seed=0, source="bars"), None, ABOUT
    )
    notes = {s.id: s.note for s in found.sections}
    assert "no guarantee of privacy" in notes["copies"]
    assert "not known" in notes["attack"]
    assert "no guarantee of privacy" in notes["attack"]


def test_copies_that_cannot_be_seen_are_told_of():
    part = Real(
        train=REAL.train, held_out=REAL.held_out, test=REAL.test, copied_from=REAL.copied_from,
        population=1200, seen=True, source="bars",
    )  # fmt: skip
    found = image_report(bars(300, seed=3), part, None, ABOUT)
    assert "25% of them are at hand" in next(s for s in found.sections if s.id == "copies").note


def test_the_same_rows_give_the_same_bytes(fine):
    again = image_report(bars(300, seed=3), REAL, None, ABOUT)
    assert files_of(again) == files_of(fine)


def test_without_scikit_learn_the_rest_is_said(monkeypatch):
    def absent() -> None:
        raise LearnersMissing("scikit-learn is not installed: pip install 'reverie[report]'")

    monkeypatch.setattr(learners, "_check", absent)
    found = image_report(bars(300, seed=3), REAL, None, ABOUT)
    assert any("reverie[report]" in m.why for m in found.missing)
    assert figure(found, "copies.exact").value == 0.0


def test_classes_are_in_the_order_that_a_person_expects():
    assert natural({"10", "9", "b", "a", "0"}) == ["0", "9", "10", "a", "b"]
