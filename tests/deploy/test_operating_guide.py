"""The operators' guide says what the code says."""

import runpy

from service.settings import Settings
from tests.deploy.deployment import ROOT

GUIDE = ROOT / "docs/operating.md"


def test_the_tables_of_settings_and_metrics_are_current() -> None:
    tables = runpy.run_path(str(ROOT / "docs/tables.py"))
    text = GUIDE.read_text()
    assert tables["with_tables"](text) == text, "run `make docs`"


def test_every_setting_is_in_the_table() -> None:
    text = GUIDE.read_text()
    for name in Settings.model_fields:
        assert f"| `REVERIE_{name.upper()}` |" in text
