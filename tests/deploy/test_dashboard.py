"""The dashboard's structure, and that its files agree on names and places.

Grafana itself is in neither Debian nor PyPI, so nothing here renders it: what can be read from the
files is read, and test_prometheus.py runs the queries.
"""

import itertools
import json
import re
from typing import Any

import pytest
import yaml

from service.metrics import Metrics
from tests.deploy.deployment import ROOT

GRAFANA = ROOT / "deploy/grafana"
COLUMNS = 24
# What the Python client and Prometheus itself export beside the service's own metrics.
FOREIGN = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((GRAFANA / "dashboards/reverie.json").read_text())
    return content


def test_panels_have_ids_titles_and_descriptions(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    assert len({p["id"] for p in panels}) == len(panels)
    assert len({p["title"] for p in panels}) == len(panels)
    assert all(p["description"] for p in panels if p["type"] != "row")


def test_panels_lie_in_the_grid_without_overlaps(dashboard: dict[str, Any]) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= COLUMNS
        rows = range(place["y"], place["y"] + place["h"])
        columns = range(place["x"], place["x"] + place["w"])
        for cell in itertools.product(rows, columns):
            assert taken.setdefault(cell, panel["title"]) == panel["title"]


def test_every_panel_asks_the_data_source_that_is_provisioned(dashboard: dict[str, Any]) -> None:
    provisioned = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())
    (source,) = provisioned["datasources"]
    (variable,) = [v for v in dashboard["templating"]["list"] if v["type"] == "datasource"]
    assert variable["current"]["value"] == source["uid"]
    assert variable["query"] == source["type"] == "prometheus"
    asked = {"type": "prometheus", "uid": "${datasource}"}
    for panel in dashboard["panels"]:
        for part in (panel, *panel.get("targets", ())):
            assert part.get("datasource", asked) == asked


def test_every_metric_of_the_dashboard_and_the_alerts_exists(dashboard: dict[str, Any]) -> None:
    exported = set(FOREIGN)
    for family in Metrics().registry.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
        exported |= {family.name + s for s in suffixes.get(family.type, ("",))}
    alerts = (ROOT / "deploy/prometheus/alerts.yml").read_text()
    targets = [t["expr"] for p in dashboard["panels"] for t in p.get("targets", ())]
    named = set(re.findall(r"\b(?:reverie|process)_[a-z_]+|\bup\b", " ".join([alerts, *targets])))
    assert named <= exported


def test_compose_mounts_the_dashboards_where_grafana_looks_for_them() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    provider = yaml.safe_load((GRAFANA / "provisioning/dashboards/reverie.yml").read_text())
    path = provider["providers"][0]["options"]["path"]
    grafana = compose["services"]["grafana"]
    assert f"./deploy/grafana/dashboards:{path}:ro" in grafana["volumes"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{path}/reverie.json"


def test_the_data_source_samples_as_often_as_prometheus_scrapes() -> None:
    source = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    interval = source["datasources"][0]["jsonData"]["timeInterval"]
    assert interval == prometheus["global"]["scrape_interval"]
