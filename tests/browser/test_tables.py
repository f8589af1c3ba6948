"""A person at the playground with a model of a table: rows, and a form that fills in the rest."""

from __future__ import annotations

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.support.ui import Select

from tests.browser.test_playground import Visitor


@pytest.fixture
def visitor(browser: Chrome, url: str) -> Visitor:
    browser.get(url)
    found = Visitor(browser)
    found.until(lambda: len(found.samples()) == 36)
    found.choose_model("tiny-table@1")
    found.complaints()
    return found


def test_rows_are_shown_as_a_table_and_what_is_for_images_is_hidden(visitor: Visitor):
    assert [th.text for th in visitor.all("#rows th")] == [
        "size", "weight", "grade", "kind", "home",
    ]  # fmt: skip
    assert len(visitor.all("#rows tbody tr")) == 36
    assert "rows of 5 columns" in visitor.see("#facts").text
    for hidden in ("#draw", "#interpolate", "#sheet"):
        assert not visitor.see(hidden).is_displayed()
    assert visitor.complaints() == []


def test_rows_of_one_label_are_drawn(visitor: Visitor):
    Select(visitor.see("#sample-form [name=label]")).select_by_visible_text("dog")
    visitor.see("#sample-form .primary").click()
    kinds = "#rows tbody td:nth-of-type(5)"
    visitor.until(lambda: {cell.text for cell in visitor.all(kinds)} == {"dog"})
    assert '"labels":["dog"]' in visitor.see("#curl").get_property("textContent").replace(" ", "")
    assert visitor.complaints() == []


def test_a_row_is_edited_and_its_empty_cells_are_filled_in(visitor: Visitor):
    visitor.see("#rows tbody tr button").click()
    weight = visitor.see("[data-column=weight]")
    weight.clear()
    Select(visitor.see("[data-column=kind]")).select_by_value("owl")
    visitor.enter("rows", n=3, seed=5)
    visitor.see("#rows-form .primary").click()
    visitor.until(lambda: len(visitor.all("#filled tbody tr")) == 3)
    assert {row.text.split()[3] for row in visitor.all("#filled tbody tr")} == {"owl"}
    assert "3 fillings with seed 5" in visitor.see("#rows-note").text
    assert visitor.complaints() == []


def test_images_are_shown_again_when_another_model_is_chosen(visitor: Visitor):
    visitor.choose_model("digits@1")
    visitor.until(visitor.samples)
    assert visitor.see("#draw").is_displayed()
    assert not visitor.see("#fill").is_displayed()
    assert visitor.all("#rows tr") == []
