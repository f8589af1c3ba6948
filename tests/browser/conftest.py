"""A real browser on a real server; skipped only where there is no chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from tests.api.packages import write_colour, write_digits
from tests.api.servers import served
from tests.packages import write_tiny_rbm
from tests.tables import write_tiny_table

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--window-size=1360,1500",
)  # fmt: skip


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with digits@1 (28 × 28), colour@1, tiny-rbm@1 and tiny-table@1."""
    store = tmp_path_factory.mktemp("store")
    write_digits(store)
    write_colour(store)
    write_tiny_rbm(store)
    write_tiny_table(store)
    with served(models_store=store) as client:
        yield str(client.base_url)


@pytest.fixture(scope="module")
def guarded_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that asks for the key `open-sesame`."""
    store = tmp_path_factory.mktemp("store")
    write_digits(store)
    with served(models_store=store, api_keys=("open-sesame",)) as client:
        yield str(client.base_url)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium and chromedriver: apt-get install chromium chromium-driver")
    profile: Path = tmp_path_factory.mktemp("profile")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()
