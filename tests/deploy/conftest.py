"""A running service and a running Prometheus.

tests.packages ──► `reverie serve` (subprocess) ◄──scrapes── prometheus (subprocess) ◄── tests
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.deployment import REVERIE, ROOT, free_port, require, running
from tests.packages import write_tiny_gan, write_tiny_rbm


@pytest.fixture(scope="session")
def models_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a tiny GAN and a tiny RBM, which a container's user may read."""
    store = tmp_path_factory.mktemp("models")
    store.chmod(0o755)
    write_tiny_gan(store)
    write_tiny_rbm(store)
    return store


@pytest.fixture(scope="session")
def service_url(models_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service that runs as an operator runs it."""
    folder, port = tmp_path_factory.mktemp("service"), free_port()
    env = {
        "REVERIE_MODELS_STORE": str(models_store),
        "REVERIE_PORT": str(port),
        "REVERIE_DRAIN_GRACE_S": "0",
    }
    url = f"http://127.0.0.1:{port}"
    log = folder / "log"
    with running([str(REVERIE), "serve"], log, ready=f"{url}/readyz", env=env, cwd=folder):
        yield url


@pytest.fixture(scope="session")
def prometheus_url(service_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus that scrapes the service each second, with our alert rules."""
    binary = require("prometheus", package="prometheus")
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    published = (ROOT / "deploy/prometheus/prometheus.yml").read_text()
    config = folder / "prometheus.yml"
    config.write_text(
        published.replace("reverie:8000", service_url.removeprefix("http://"))
        .replace("scrape_interval: 5s", "scrape_interval: 1s")
        .replace("evaluation_interval: 15s", "evaluation_interval: 1s")
    )
    shutil.copy(ROOT / "deploy/prometheus/alerts.yml", folder)
    command = [
        binary,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    url = f"http://127.0.0.1:{port}"
    with running(command, folder / "log", ready=f"{url}/-/ready"):
        yield url
