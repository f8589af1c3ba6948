"""A real Prometheus scrapes a real service, and every panel of the dashboard has data.

requests ──► service ◄──scrape── Prometheus ◄──query── the panels' and alerts' expressions
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.deploy.deployment import ROOT

DASHBOARD = ROOT / "deploy/grafana/dashboards/reverie.json"
IMAGE = [[[0.25] * 4] * 4]
HOLE = [[1, 0, 0, 0]] * 4
REQUESTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("tiny-gan", "sample", {"n": 3, "seed": 1}),
    ("tiny-gan", "interpolate", {"points": [{"seed": 1}, {"seed": 2}], "frames": 4}),
    ("tiny-gan", "score", {"images": IMAGE}),
    ("tiny-gan", "encode", {"images": IMAGE}),
    ("tiny-gan", "reconstruct", {"images": IMAGE}),
    ("tiny-rbm", "sample", {"n": 8, "seed": 1, "burn_in": 100}),
    ("tiny-rbm", "inpaint", {"images": IMAGE, "mask": HOLE, "seed": 1}),
    ("tiny-rbm", "score", {"images": IMAGE}),
)


class Prometheus:
    """Prometheus's HTTP API, as far as it is needed here."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=f"{url}/api/v1", timeout=10)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The vector that `expression` is at this moment; a refused expression is a failure."""
        response = self._client.post("/query", data={"query": expression})
        body = response.json()
        assert body["status"] == "success", f"{expression}: {body['error']}"
        result: list[dict[str, Any]] = body["data"]["result"]
        return result

    def rules(self) -> list[dict[str, Any]]:
        """Every alert rule with its health."""
        groups = self._client.get("/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def scrapes(self) -> float:
        """How often the service has been scraped."""
        found = self.query('count_over_time(up{job="reverie"}[10m])')
        return float(found[0]["value"][1]) if found else 0.0

    def wait(self, condition: Callable[[], bool]) -> None:
        """Return once `condition` holds; pytest's timeout bounds it.

        Prometheus tells nobody when it has scraped, so it is asked ten times a second.
        """
        while not condition():
            time.sleep(0.1)


@pytest.fixture(scope="module")
def prometheus(service_url: str, prometheus_url: str) -> Iterator[Prometheus]:
    """A Prometheus that has seen requests before and after a scrape, so that rates are there."""
    found = Prometheus(prometheus_url)
    found.wait(lambda: found.scrapes() >= 1)
    for _ in range(2):
        for model, operation, body in REQUESTS:
            answer = httpx.post(f"{service_url}/v1/models/{model}/{operation}", json=body)
            assert answer.status_code == 200, answer.text
        order = {"model": "tiny-gan", "n": 64, "seed": 1, "format": "npz"}
        assert httpx.post(f"{service_url}/v1/augmentations", json=order).status_code == 202
        before = found.scrapes()
        found.wait(lambda before=before: found.scrapes() >= before + 2)
    yield found
    found._client.close()


def panels() -> list[dict[str, Any]]:
    """Every panel of the dashboard that shows data."""
    return [p for p in json.loads(DASHBOARD.read_text())["panels"] if p["type"] != "row"]


def filled(expression: str) -> str:
    """A panel's expression with Grafana's variables filled in."""
    values = {"__rate_interval": "1m", "__range": "5m", "model": ".*", "operation": ".*"}
    return re.sub(r"\$(\w+)", lambda m: values[m[1]], expression)


QUERIES = [
    pytest.param(filled(target["expr"]), id=f"{panel['title']}-{target['refId']}")
    for panel in panels()
    for target in panel["targets"]
]


@pytest.mark.parametrize("expression", QUERIES)
def test_every_query_of_the_dashboard_returns_numbers(
    prometheus: Prometheus, service_url: str, expression: str
) -> None:
    if "process_" in expression and "process_" not in httpx.get(f"{service_url}/metrics").text:
        pytest.skip("the Python client reads process metrics from /proc, which is not here")
    series = prometheus.query(expression)
    assert series, f"no data for {expression}"
    assert any(entry["value"][1] != "NaN" for entry in series), series


def test_the_dashboards_variables_list_the_models_and_operations(prometheus: Prometheus) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    found = {}
    for variable in dashboard["templating"]["list"]:
        match = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable.get("definition", ""))
        if match:
            metric, label = match.groups()
            found[variable["name"]] = {s["metric"][label] for s in prometheus.query(metric)}
    assert found["model"] == {"tiny-gan", "tiny-rbm"}
    assert found["operation"] == {operation for _, operation, _ in REQUESTS}


def test_prometheus_counts_what_was_asked(prometheus: Prometheus) -> None:
    (rows,) = prometheus.query('reverie_rows_total{model="tiny-gan", operation="sample"}')
    assert float(rows["value"][1]) == 2 * 3
    (sweeps,) = prometheus.query('reverie_gibbs_sweeps_total{model="tiny-rbm"}')
    assert float(sweeps["value"][1]) >= 2 * 8 * 100


def test_every_alert_rule_evaluates_and_none_fires_on_a_healthy_service(
    prometheus: Prometheus,
) -> None:
    prometheus.wait(lambda: all(r["health"] != "unknown" for r in prometheus.rules()))
    states = {r["name"]: (r["health"], r["state"]) for r in prometheus.rules()}
    assert states
    assert set(states.values()) == {("ok", "inactive")}, states


def test_the_table_of_models_says_where_each_runs(prometheus: Prometheus) -> None:
    (panel,) = [p for p in panels() if p["type"] == "table"]
    expression = panel["targets"][0]["expr"]
    rows = {s["metric"]["model"]: s["metric"] for s in prometheus.query(filled(expression))}
    assert rows.keys() == {"tiny-gan", "tiny-rbm"}
    assert {row["device"] for row in rows.values()} == {"cpu"}
    assert all(row["digest"].startswith("sha256:") for row in rows.values())
