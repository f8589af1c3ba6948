"""The command line: what it prints, and how it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.packages import write_tiny_gan
from tests.tables import write_tiny_table
from tests.test_imports import generator

REVERIE = [sys.executable, "-m", "service.cli"]


def reverie(*arguments, check=True, **options):
    done = subprocess.run(
        [*REVERIE, *map(str, arguments)], capture_output=True, text=True, timeout=120, **options
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done


def test_help_lists_every_command_and_each_has_its_own():
    said = reverie("--help").stdout
    for command in ("serve", "train", "export", "evaluate", "sample", "models"):
        assert command in said
    for command in (["serve"], ["sample"], ["models", "add"], ["models", "verify"]):
        assert "Usage" in reverie(*command, "--help").stdout


def test_sample_writes_a_picture_without_a_server(tiny_store, tmp_path):
    out = tmp_path / "deep" / "sheet.png"
    said = reverie("sample", "tiny-rbm", "-n", 9, "--seed", 3, "-o", out, "--store", tiny_store)
    assert "9 samples of tiny-rbm, seed 3" in said.stdout
    with Image.open(out) as sheet:
        assert sheet.width == sheet.height


def test_sample_writes_the_rows_of_a_table_as_csv(tmp_path):
    write_tiny_table(tmp_path)
    out = tmp_path / "rows.csv"
    reverie("sample", "tiny-table", "-n", 5, "--seed", 3, "-o", out, "--store", tmp_path)
    header, *rows = out.read_text().splitlines()
    assert header == "size,weight,grade,kind,home"
    assert len(rows) == 5


def test_listing_and_verifying_name_every_package(tiny_store):
    listed = reverie("models", "list", "--store", tiny_store, env={"COLUMNS": "200"}).stdout
    assert "tiny-gan@1" in listed
    assert "sample, interpolate" in listed
    verified = reverie("models", "verify", "--store", tiny_store).stdout
    assert verified.count("✓") == 2


def test_verify_fails_on_a_damaged_package(store):
    (store / "tiny-gan" / "1" / "score.onnx").write_bytes(b"damaged")
    done = reverie("models", "verify", "--store", store, check=False)
    assert done.returncode == 1
    assert "score.onnx has sha256" in done.stdout


def test_reasons_keep_their_brackets(store):
    manifest = store / "tiny-gan" / "1" / "manifest.json"
    document = json.loads(manifest.read_text())
    document["data"]["shape"] = [2, 4, 4]
    manifest.write_text(json.dumps(document))
    done = reverie("models", "verify", "tiny-gan", "--store", store, check=False)
    assert "data/image: shape (2, 4, 4) is not [1 or 3, H ≤ 4096, W ≤ 4096]" in done.stdout


def test_add_writes_a_package_that_serves_and_never_over_another(tmp_path):
    file = tmp_path / "My Generator.onnx"
    file.write_bytes(generator())
    said = reverie("models", "add", file, "--store", tmp_path / "store").stdout
    assert "able to: sample, interpolate" in said
    assert "added my-generator@1" in said
    again = reverie("models", "add", file, "--store", tmp_path / "store", check=False)
    assert again.returncode == 2
    assert "there already" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["sample", "nobody"], "no model 'nobody'"),
        (["sample", "tiny-gan", "--burn-in", "5"], "leave burn_in out"),
        (["models", "verify", "nobody"], "no such package"),
        (["serve", "--port", "99999"], "setting port=99999"),
        (["serve", "--store", "/nowhere"], "models_store=/nowhere is not a folder"),
        (["serve", "--device", "tpu"], "setting device='tpu'"),
    ],
)
def test_mistakes_are_one_line_and_status_two(tiny_store, tmp_path, arguments, complaint):
    if arguments[0] == "sample":
        arguments = [*arguments, "-o", str(tmp_path / "x.png")]
    store = [] if "--store" in arguments else ["--store", tiny_store]
    done = reverie(*arguments, *store, check=False)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def server(store, tmp_path):
    """`reverie serve` on a free port, and its address."""
    log = tmp_path / "serve.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [*REVERIE, "serve", "--port", "0", "--store", str(store)],
            stderr=file,
            env=os.environ | {"REVERIE_DATA_DIR": str(tmp_path / "data")},
        )
    try:
        yield process, _address(log)
    finally:
        process.kill()
        process.wait()


def _address(log: Path) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = [w for w in log.read_text().split() if w.startswith("http://")]
        if found:
            return found[0].rstrip("/")
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def test_serve_greets_with_the_models_and_a_request_that_works(server):
    _, url = server
    answer = httpx.post(f"{url}/v1/models/tiny-gan/sample", json={"n": 2, "seed": 7})
    assert answer.json()["shape"] == [2, 1, 4, 4]


def test_a_polite_stop_turns_readiness_red_and_drops_nothing(server):
    process, url = server
    with httpx.Client(base_url=url, timeout=30) as client:
        assert client.get("/readyz").status_code == 200
        process.send_signal(signal.SIGTERM)
        while client.get("/readyz").status_code == 200:
            pass
        late = client.post("/v1/models/tiny-rbm/sample", json={"n": 1, "seed": 1})
        assert late.status_code == 200
    assert process.wait(timeout=30) in {0, -signal.SIGTERM}


def test_reload_serves_a_new_package_while_requests_go_on(server, store, tmp_path):
    _, url = server
    write_tiny_gan(store, name="newcomer")
    asked = reverie(
        "models",
        "reload",
        "--port",
        0,
        env=os.environ | {"REVERIE_DATA_DIR": str(tmp_path / "data")},
    )
    assert "asked process" in asked.stdout
    with httpx.Client(base_url=url, timeout=30) as client:
        while client.post("/v1/models/newcomer/sample", json={}).status_code != 200:
            known = client.post("/v1/models/tiny-gan/sample", json={"seed": 1})
            assert known.status_code == 200


def test_reload_without_a_service_says_so(tmp_path):
    done = reverie("models", "reload", check=False, env={"REVERIE_DATA_DIR": str(tmp_path)})
    assert done.returncode == 2
    assert "is `reverie serve` running on port 8000" in done.stderr
