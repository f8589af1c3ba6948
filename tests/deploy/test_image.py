"""The container image, built and run step by step where no Docker engine is.

Dockerfile ──dockerfile.Builder──► layers ──► a container: not root, read-only, models mounted
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from tests.deploy.deployment import ROOT, free_port, missing, running
from tests.deploy.dockerfile import Builder, Stage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

UID = 10001
# This machine's way to its packages reaches the build steps as build arguments would.
HOST_ENV = (
    "PIP_CERT",
    "PIP_FIND_LINKS",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_DEFAULT_TIMEOUT",
)


@dataclass(frozen=True)
class Image:
    """The built target, and where its containers are mounted."""

    stage: Stage
    mount: Path
    mounts: tuple[str, ...] = ()

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run `command` in a container until it ends."""
        argv = self.stage.argv(*command, mount=self.mount, extra=self.mounts)
        return subprocess.run(argv, check=False, capture_output=True, text=True)


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """The default target, cpu."""
    able = sys.platform == "linux" and os.geteuid() == 0 and Path("/usr/bin/python3").exists()
    if not able:
        missing("carrying out the Dockerfile needs root on Linux, with Debian's python3")
    host_env = {name: os.environ[name] for name in HOST_ENV if name in os.environ}
    with tempfile.TemporaryDirectory(dir="/dev/shm") as work:
        builder = Builder(ROOT, Path(work), host_env=host_env)
        yield Image(stage=builder.build("cpu"), mount=builder.mount)


@pytest.fixture(scope="module")
def container(
    image: Image, models_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Image, str, subprocess.Popen[bytes]]]:
    """A running container, its address, and its process."""
    port = free_port()
    env = image.stage.env | {"REVERIE_PORT": str(port), "REVERIE_DRAIN_GRACE_S": "0"}
    served = replace(
        image,
        stage=replace(image.stage, env=env),
        mounts=(
            f"mount --bind -o ro {models_store} {image.mount}/models",
            f"mount -t tmpfs -o uid={UID},mode=0700 tmpfs {image.mount}/data",
        ),
    )
    command = (*image.stage.entrypoint, *image.stage.command)
    argv = served.stage.argv(*command, mount=image.mount, extra=served.mounts)
    url = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("container") / "log"
    with running(argv, log, ready=f"{url}/readyz") as process:
        yield served, url, process


def test_the_default_target_is_the_one_without_torch() -> None:
    stages = [s for s in (ROOT / "Dockerfile").read_text().splitlines() if s.startswith("FROM ")]
    assert stages[-1].endswith(" AS cpu")


def test_the_image_has_neither_torch_nor_pip_nor_the_tests_tools(image: Image) -> None:
    code = (
        "import importlib.util as u; "
        "print([m for m in ('torch', 'onnx', 'pip', 'pytest', 'training') if u.find_spec(m)])"
    )
    assert image.run("python", "-c", code).stdout.strip() == "[]"


def test_the_image_is_of_the_pinned_versions(image: Image) -> None:
    code = (
        "from importlib.metadata import distributions as d; "
        "print(*(f'{p.name}=={p.version}'.lower().replace('_', '-') for p in d()))"
    )
    found = set(image.run("python", "-c", code).stdout.split())
    pins = (ROOT / "constraints.txt").read_text().lower().replace("_", "-").split()
    ours = {name for name in found if name.startswith("reverie==")}
    assert len(ours) == 1
    assert len(found) > 20
    assert found - ours <= set(pins)


def test_training_in_the_image_says_what_it_needs(image: Image) -> None:
    done = image.run("reverie", "train", "some.toml")
    assert done.returncode == 2
    assert "reverie[train]" in done.stderr


def test_a_container_answers(container: tuple[Image, str, subprocess.Popen[bytes]]) -> None:
    _, url, _ = container
    answer = httpx.post(f"{url}/v1/models/tiny-rbm/sample", json={"n": 2, "seed": 3})
    assert answer.status_code == 200
    assert answer.json()["shape"] == [2, 1, 4, 4]
    for page in ("/", "/docs", "/docs/swagger-ui-bundle.js", "/metrics"):
        assert httpx.get(f"{url}{page}").status_code == 200, page


def first_process(container: subprocess.Popen[bytes]) -> int:
    """The host's number of the process that is number 1 in the container."""
    return int(Path(f"/proc/{container.pid}/task/{container.pid}/children").read_text())


def test_a_container_is_not_root(container: tuple[Image, str, subprocess.Popen[bytes]]) -> None:
    _, _, process = container
    status = Path(f"/proc/{first_process(process)}/status").read_text()
    (uids,) = [line.split()[1:] for line in status.splitlines() if line.startswith("Uid:")]
    assert set(uids) == {str(UID)}


def test_a_container_can_write_neither_its_root_nor_its_models(
    container: tuple[Image, str, subprocess.Popen[bytes]],
) -> None:
    image, _, _ = container
    as_root = replace(image, stage=replace(image.stage, user="0:0"))
    for folder in ("/", "/opt/reverie", "/models"):
        done = as_root.run("touch", f"{folder}/written")
        assert done.returncode != 0, folder
        assert "Read-only file system" in done.stderr


def test_the_health_check_follows_readiness(
    container: tuple[Image, str, subprocess.Popen[bytes]], image: Image
) -> None:
    served, _, _ = container
    check = image.stage.healthcheck
    assert served.run(*check).returncode == 0
    nothing_there = image.stage.env | {"REVERIE_PORT": str(free_port())}
    idle = replace(image, stage=replace(image.stage, env=nothing_there))
    assert idle.run(*check).returncode == 1


def test_sigterm_finishes_what_was_begun_and_ends_the_container(
    container: tuple[Image, str, subprocess.Popen[bytes]],
) -> None:
    _, url, process = container
    slow = {"n": 256, "seed": 5, "burn_in": 10_000}
    with ThreadPoolExecutor(1) as client:
        answer = client.submit(
            httpx.post, f"{url}/v1/models/tiny-rbm/sample", json=slow, timeout=60
        )
        while 'inflight_rows{model="tiny-rbm"} 0.0' in httpx.get(f"{url}/metrics").text:
            assert not answer.done(), "the request was over before the signal came"
        os.kill(first_process(process), signal.SIGTERM)
        assert answer.result().status_code == 200
    assert process.wait(timeout=30) == 0
