"""The page: one file that loads nothing and runs nothing, and says what the JSON says."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest

from service.reports.charts import svg
from service.reports.figures import Chart, Figure, Report, Section, Series
from service.reports.image_report import image_report
from service.reports.page import number, page
from service.reports.rows import split_beside
from service.reports.writing import HTML_FILE, JSON_FILE, files_of
from tests.reports.data import ABOUT, bars


class Reader(HTMLParser):
    """Every tag with its attributes, and whether they are closed in order."""

    VOID = ("meta", "img")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def report() -> Report:
    real = split_beside(bars(120, seed=1), bars(180, seed=2), limit=120, seed=0, source="bars")
    return image_report(bars(120, seed=3), real, None, ABOUT)


def test_the_page_is_whole_and_needs_no_network_and_no_script(report):
    reader = Reader()
    reader.feed(page(report))
    assert reader.open == []
    assert not {"script", "link", "iframe"} & {tag for tag, _ in reader.found}
    for _, attributes in reader.found:
        assert attributes.get("src", "data:image/png;").startswith("data:image/png;")
        assert "href" not in attributes


def test_the_page_shows_every_figure_beside_its_twin(report):
    shown = page(report)
    for section in report.sections:
        for figure in section.figures:
            assert number(figure.value, figure.unit) in shown
            assert number(figure.real, figure.unit) in shown


def test_the_json_twin_has_every_figure_and_no_clock(report):
    files = files_of(report)
    document = json.loads(files[JSON_FILE])
    told = {f["id"]: f["value"] for s in document["sections"] for f in s["figures"]}
    for section in report.sections:
        for figure in section.figures:
            assert told[figure.id] == pytest.approx(figure.value, rel=1e-5)
    assert "png" not in document["sections"][0]["pictures"][0]
    assert set(files) == {HTML_FILE, JSON_FILE}


def test_what_stands_out_is_said_first_and_escaped():
    figure = Figure(
        id="x", name="<b>", value=1.0, real=0.0, good="lower", meaning="", notice="<script>"
    )
    section = Section(id="s", title="S", question="?", figures=[figure])
    shown = page(Report(title="T & T", kind="images", about={}, sections=[section]))
    assert "&lt;script&gt;" in shown
    assert "<script>" not in shown
    assert "<b>" not in shown
    assert shown.index("&lt;script&gt;") < shown.index("<section")


@pytest.mark.parametrize("kind", ["bars", "histogram", "curve"])
def test_a_chart_of_nothing_is_still_a_chart(kind):
    chart = Chart(id="c", title="C", kind=kind, series=[Series(name="s", values=[0.0])],
                  x=["a"] if kind == "bars" else [0.0, 0.0], xs=[[0.0]], caption="")  # fmt: skip
    assert svg(chart).startswith("<svg")
    assert "nan" not in svg(chart)


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [(None, "", "–"), (0.1234, "%", "12.3 %"), (0.12345, "", "0.123"), (1234.5, "", "1,234.5"),
     (2e-5, "", "2.00e-05"), (0.0, "", "0.000")],
)  # fmt: skip
def test_numbers_have_digits_enough_to_compare_by(value, unit, shown):
    assert number(value, unit) == shown
