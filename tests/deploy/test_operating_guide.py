"""The operators' guide says what the code says."""

import runpy

from service.settings import Settings
from tests.deploy.deployment import ROOT

GUIDE = ROOT / "docs/operating.md"


def test_the_tables_of_settings_metrics_and_quality_are_current() -> None:
    made = runpy.run_path(str(ROOT / "docs/tables.py"))
    for page, tables in made["PAGES"].items():
        text = page.read_text()
        assert made["with_tables"](text, tables) == text, f"run `make docs`: {page.name}"


def test_every_setting_is_in_the_table() -> None:
    text = GUIDE.read_text()
    for name in Settings.model_fields:
        assert f"| `REVERIE_{name.upper()}` |" in text
