"""A report's two files: the page for people, and its JSON twin for programs.

Report ──► report.html, report.json: the same rows give the same bytes
"""

from __future__ import annotations

import json

from service.reports.figures import Report
from service.reports.page import page

HTML_FILE = "report.html"
JSON_FILE = "report.json"


def files_of(report: Report) -> dict[str, bytes]:
    """Both files, by name."""
    document = json.dumps(report.document(), indent=1, ensure_ascii=False, allow_nan=False)
    return {HTML_FILE: page(report).encode(), JSON_FILE: document.encode() + b"\n"}
