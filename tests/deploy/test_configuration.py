"""The files that an operator starts from are ones that their programs accept."""

import re
import subprocess
import tomllib

import yaml

from service.settings import Settings
from tests.deploy.deployment import ROOT, require


def run(*command: str) -> str:
    """What a command prints; a failure shows it."""
    done = subprocess.run(
        command, check=False, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def services() -> dict:
    """What docker-compose.yml says of each container, with anchors and merges resolved."""
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def test_prometheus_accepts_its_configuration_and_rules() -> None:
    promtool = require("promtool", package="prometheus")
    assert "SUCCESS" in run(promtool, "check", "config", "deploy/prometheus/prometheus.yml")


def test_every_alert_fires_when_it_should() -> None:
    promtool = require("promtool", package="prometheus")
    run(promtool, "test", "rules", "deploy/prometheus/alerts_test.yml")
    rules = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
    tests = yaml.safe_load((ROOT / "deploy/prometheus/alerts_test.yml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    fired = {
        check["alertname"]
        for test in tests["tests"]
        for check in test["alert_rule_test"]
        if check["exp_alerts"]
    }
    assert fired == alerts


def test_every_alert_has_its_section_in_the_operators_guide() -> None:
    rules = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
    guide = (ROOT / "docs/operating.md").read_text().splitlines()
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert f"### {rule['alert']}" in guide
            anchor = rule["alert"].lower()
            assert rule["annotations"]["runbook"] == f"docs/operating.md#{anchor}"


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    run(require("hadolint", package="hadolint"), "Dockerfile")


def test_shellcheck_finds_nothing_in_the_ci_script() -> None:
    run(require("shellcheck", package="shellcheck"), ".ci/run")


def test_compose_accepts_its_file_with_and_without_a_gpu() -> None:
    program = require("docker-compose", package="docker-compose")
    run(program, "config", "--quiet")
    run(program, "--profile", "gpu", "config", "--quiet")


def test_every_container_is_confined() -> None:
    assert services().keys() == {"reverie", "reverie-gpu", "prometheus", "grafana"}
    for name, service in services().items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        for port in service["ports"]:
            assert port.startswith("127.0.0.1:"), f"{name} is open to the network: {port}"
        assert re.fullmatch(r"reverie:(cpu|gpu)|[\w/]+:v?\d+\.\d+\.\d+", service["image"]), name


def test_models_are_mounted_read_only_and_stops_leave_time_to_drain() -> None:
    fields = Settings.model_fields
    drain_s = fields["drain_grace_s"].default + fields["drain_timeout_s"].default
    for name in ("reverie", "reverie-gpu"):
        service = services()[name]
        assert service["volumes"] == ["./models_store:/models:ro", "reverie-data:/data"]
        assert float(service["stop_grace_period"].removesuffix("s")) > drain_s


def test_prometheus_scrapes_the_name_that_both_variants_answer_to() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "reverie"
    assert job["static_configs"] == [{"targets": ["reverie:8000"]}]
    assert services()["reverie-gpu"]["networks"]["default"]["aliases"] == ["reverie"]


def test_pins_are_exact_and_cover_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins: dict[str, str] = {}
    for file in ("constraints.txt", "constraints-gpu.txt"):
        for line in (ROOT / file).read_text().splitlines():
            if not line.startswith("#"):
                name, version = line.split("==")
                assert version.replace(".", "").replace("post", "").isalnum(), line
                pins[normal(name)] = version
    extras = project["optional-dependencies"].values()
    asked = [*project["dependencies"], *(r for extra in extras for r in extra)]
    names = {normal(requirement) for requirement in asked} - {"reverie"}
    assert names <= pins.keys()
    assert pins["torch"] == "2.13.0"


def normal(requirement: str) -> str:
    """The package's name, as indexes compare it."""
    name = requirement.replace("[", " ").replace(">", " ").replace(";", " ").split()[0]
    return name.lower().replace("_", "-").replace(".", "-")
