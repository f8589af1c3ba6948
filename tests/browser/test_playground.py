"""A person at the playground: every operation by mouse or keyboard, errors in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait


class Visitor:
    """What a person sees and does."""

    def __init__(self, browser: Chrome) -> None:
        self.browser = browser

    def see(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def until(self, condition: Callable[[], Any]) -> Any:
        # The page may replace what a condition is reading: it is read again.
        redrawn = [StaleElementReferenceException]
        return WebDriverWait(self.browser, 30, 0.1, redrawn).until(lambda _: condition())

    def enter(self, form: str, **fields: object) -> None:
        for name, value in fields.items():
            field = self.see(f"#{form}-form [name={name}]")
            field.clear()
            field.send_keys(str(value))

    def choose_model(self, name: str) -> None:
        Select(self.see("#model")).select_by_visible_text(name)
        self.until(lambda: self.asked("sample", name))

    def asked(self, operation: str, model: str) -> bool:
        return self.see("#last-line").text.startswith(f"POST {operation} to {model}: 200")

    def samples(self) -> list[WebElement]:
        return self.all("#samples button")

    def pixels(self, selector: str) -> np.ndarray:
        """What is on a canvas, [H, W, 4]."""
        script = (
            "const c = document.querySelector(arguments[0]);"
            "return [c.height, c.width, ...c.getContext('2d')"
            ".getImageData(0, 0, c.width, c.height).data]"
        )
        height, width, *data = self.browser.execute_script(script, selector)
        return np.array(data, np.uint8).reshape(height, width, 4)

    def complaints(self) -> list[str]:
        """Errors in the browser's console: scripts that failed, and what the policy forbade."""
        return [line["message"] for line in self.browser.get_log("browser")
                if line["level"] == "SEVERE"]  # fmt: skip


@pytest.fixture
def visitor(browser: Chrome, url: str) -> Visitor:
    browser.get(url)
    found = Visitor(browser)
    found.until(lambda: len(found.samples()) == 36)
    found.complaints()
    return found


def test_samples_are_there_on_arrival_and_repeat_with_their_seed(visitor: Visitor):
    Select(visitor.see("#model")).select_by_visible_text("digits@1")
    visitor.until(lambda: visitor.asked("sample", "digits@1"))
    visitor.enter("sample", n=4, seed=11)
    visitor.see("#sample-form .primary").click()
    visitor.until(lambda: len(visitor.samples()) == 4)
    assert "seed 11" in visitor.see("#sample-note").text
    first = visitor.pixels("#samples button:first-child canvas")
    assert first.shape == (28, 28, 4)
    visitor.see("#sample-form .primary").click()
    visitor.until(lambda: visitor.see("#sample-form .primary").get_attribute("aria-busy") is None)
    np.testing.assert_array_equal(visitor.pixels("#samples button:first-child canvas"), first)
    assert visitor.complaints() == []


def test_the_address_keeps_the_model_and_opens_with_it(browser: Chrome, url: str):
    browser.get("about:blank")
    browser.get(f"{url}/#tiny-rbm")
    visitor = Visitor(browser)
    visitor.until(lambda: visitor.asked("sample", "tiny-rbm@1"))
    assert browser.current_url.endswith("/#tiny-rbm@1")
    visitor.choose_model("digits@1")
    browser.refresh()
    visitor.until(lambda: visitor.asked("sample", "digits@1"))
    assert Select(visitor.see("#model")).first_selected_option.text == "digits@1"
    browser.execute_script("location.hash = 'tiny-rbm'")
    visitor.until(lambda: visitor.asked("sample", "tiny-rbm@1"))
    assert visitor.complaints() == []


def test_two_samples_make_an_animated_walk(visitor: Visitor):
    visitor.choose_model("digits@1")
    assert not visitor.see("#sample-form [name=label]").is_displayed()  # it takes none
    for i in (3, 8):
        visitor.samples()[i].click()
    images = visitor.until(lambda: visitor.all("#walk img"))
    visitor.until(lambda: len(visitor.all("#walk img")) == 2)
    images = visitor.all("#walk img")
    visitor.until(lambda: all(i.get_property("naturalWidth") > 0 for i in images))
    assert [s.get_attribute("data-end") for s in visitor.samples() if
            s.get_attribute("aria-pressed") == "true"] == ["A", "B"]  # fmt: skip
    assert "From sample 3 (A) to sample 8 (B)" in visitor.see("#interpolate-note").text
    assert "interpolate" in visitor.see("#curl").text
    assert visitor.complaints() == []


def test_samples_of_running_chains_are_walked_by_their_images(visitor: Visitor):
    visitor.choose_model("tiny-rbm@1")
    assert "running chains" in visitor.see("#sample-note").text
    for i in (0, 1):
        visitor.samples()[i].click()
    visitor.until(lambda: len(visitor.all("#walk img")) == 2)
    assert '"png"' in visitor.see("#curl").text


def test_a_hole_in_a_sample_is_filled_and_the_rest_is_kept(visitor: Visitor):
    visitor.choose_model("digits@1")
    visitor.samples()[0].click()
    visitor.see("#use-sample").click()
    before = visitor.pixels("#canvas")
    visitor.see("[data-hole=left]").click()
    visitor.enter("inpaint", n=3, seed=5)
    visitor.see("#inpaint-form .primary").click()
    visitor.until(lambda: len(visitor.all("#fillings canvas")) == 3)
    filled = visitor.pixels("#fillings canvas")
    np.testing.assert_array_equal(filled[:, 14:], before[:, 14:])
    assert "3 fillings with seed 5" in visitor.see("#draw-note").text
    assert visitor.complaints() == []


def test_a_drawn_digit_is_scored_with_a_heat_map(visitor: Visitor):
    visitor.choose_model("digits@1")
    visitor.see("#clear").click()
    canvas = visitor.see("#canvas")
    strokes = ActionChains(visitor.browser).move_to_element(canvas).click_and_hold()
    strokes.move_by_offset(0, 60).move_by_offset(40, 0).release().perform()
    assert visitor.pixels("#canvas")[..., 0].max() == 255
    visitor.see("#score").click()
    visitor.until(lambda: visitor.see("#verdict").is_displayed())
    assert "% of normal images score at least as high" in visitor.see("#verdict-words").text
    assert "99 held-out images" in visitor.see("#verdict-figures").text
    assert len(np.unique(visitor.pixels("#heatmap")[..., 2])) > 1
    assert visitor.complaints() == []


def test_the_keyboard_draws_too(visitor: Visitor):
    visitor.choose_model("digits@1")
    visitor.see("#clear").click()
    canvas = visitor.see("#canvas")
    canvas.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.SPACE, Keys.ARROW_UP)
    assert visitor.see("#canvas-state").get_property("textContent") == "row 14, column 13"
    assert visitor.pixels("#canvas")[14, 12, 0] == 255


def test_an_uploaded_picture_is_scaled_to_the_model(visitor: Visitor, tmp_path: Path):
    visitor.choose_model("digits@1")
    picture = tmp_path / "white.png"
    Image.new("RGB", (90, 90), "white").save(picture)
    visitor.see("#upload").send_keys(str(picture))
    visitor.until(lambda: visitor.pixels("#canvas")[..., 0].min() == 255)


def test_time_is_shown_by_phase_and_the_request_as_curl(visitor: Visitor):
    visitor.choose_model("digits@1")
    figures = visitor.see("#timing-figures").text
    assert all(phase in figures for phase in ("decode", "queue", "compute", "encode"))
    curl = visitor.see("#curl").text
    assert curl.startswith("curl -s http://127.0.0.1:")
    assert "/v1/models/digits@1/sample" in curl


def test_a_refusal_is_told_in_the_service_s_own_words(visitor: Visitor):
    visitor.choose_model("digits@1")
    visitor.see("[data-hole=none]").click()
    visitor.see("#inpaint-form .primary").click()
    visitor.until(lambda: visitor.see("#error").is_displayed())
    assert "There is no hole to fill" in visitor.see("#error").text
    visitor.see("[data-hole=centre]").click()
    visitor.browser.execute_script(
        "document.querySelector('#inpaint-form [name=steps]').max = 99999"
    )
    visitor.enter("inpaint", n=2, steps=20000)
    visitor.see("#inpaint-form .primary").click()
    visitor.until(lambda: "exceeds 10000" in visitor.see("#error").text)


def test_a_colour_model_shows_colours_and_hides_what_it_cannot_do(visitor: Visitor):
    visitor.choose_model("colour@1")
    pixels = visitor.pixels("#samples button:first-child canvas")
    assert pixels.shape == (4, 5, 4)
    assert (pixels[..., 0] != pixels[..., 1]).any()
    assert not visitor.see("#inpaint-form .primary").is_enabled()
    assert visitor.see("#colour").is_displayed()


def test_everything_that_can_be_used_has_a_name(visitor: Visitor):
    unnamed = visitor.browser.execute_script("""
        return [...document.querySelectorAll('input, select, button, canvas, img, a')]
          .filter((e) => e.checkVisibility())
          .filter((e) => !(e.labels?.length || e.ariaLabel || e.textContent.trim()
            || e.closest('label') || e.hasAttribute('alt') || e.closest('button')?.ariaLabel))
          .map((e) => e.outerHTML)""")
    assert unnamed == []


def test_a_key_is_asked_for_where_one_is_needed(browser: Chrome, guarded_url: str):
    browser.get(guarded_url)
    visitor = Visitor(browser)
    visitor.until(lambda: visitor.see("#key-form").is_displayed())
    visitor.see("#key").send_keys("open-sesame", Keys.ENTER)
    visitor.until(lambda: len(visitor.samples()) == 36)
    assert not visitor.see("#key-form").is_displayed()
    assert "open-sesame" not in visitor.see("#curl").text


def test_the_documentation_works_without_a_network(browser: Chrome, url: str):
    browser.get(f"{url}/docs")
    visitor = Visitor(browser)
    visitor.complaints()
    visitor.until(lambda: len(visitor.all(".opblock")) >= 14)
    assert "Draw samples" in visitor.see("#swagger-ui").text
    assert visitor.complaints() == []
