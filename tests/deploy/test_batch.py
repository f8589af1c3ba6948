"""What runs an order on many machines agrees with the commands, the image and itself."""

import re
import shlex
import tomllib
from typing import Any

import pytest
import typer
import yaml

from service.augmentation.shard import app as shard_app
from service.cli import app
from tests.deploy.deployment import ROOT, require
from tests.deploy.test_configuration import run

JOBS = ROOT / "deploy/kubernetes/augmentation"
RAY_JOB = ROOT / "deploy/ray/rayjob.yaml"
SCRIPTS = ("deploy/slurm/shards.sbatch", "deploy/slurm/finish.sbatch")
SHARD = ["python", "-m", "service.augmentation.shard"]


def job(name: str) -> dict[str, Any]:
    """A Job as its file has it."""
    (document,) = yaml.safe_load_all((JOBS / f"{name}.yaml").read_text())
    return document


def container(name: str) -> dict[str, Any]:
    (found,) = job(name)["spec"]["template"]["spec"]["containers"]
    return found


def accepted(program: typer.Typer, arguments: list[str], *, name: str = "") -> dict[str, Any]:
    """What a command makes of its arguments; it fails on one that it does not know."""
    command = typer.main.get_command(program)
    if name:
        command = command.commands[name]
    return command.make_context(name or "command", list(arguments)).params


def augment(arguments: list[str]) -> dict[str, Any]:
    assert arguments[0] == "augment"
    return accepted(app, arguments[1:], name="augment")


def test_the_three_jobs_are_about_one_order() -> None:
    plan = augment(container("plan")["args"])
    assert plan["plan"] is True
    shards, finish = container("shards"), container("finish")
    assert shards["command"] == finish["command"] == SHARD
    out = accepted(shard_app, finish["args"])["out"]
    assert out == plan["out"] == accepted(shard_app, shards["args"])["out"]
    assert accepted(shard_app, finish["args"])["finishing"] is True


def test_there_are_as_many_indices_as_shares_and_mistakes_are_not_repeated() -> None:
    spec = job("shards")["spec"]
    assert spec["completionMode"] == "Indexed"
    assert accepted(shard_app, container("shards")["args"])["of"] == spec["completions"]
    assert spec["parallelism"] <= spec["completions"]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # as a failure policy demands
    (rule,) = [r for r in spec["podFailurePolicy"]["rules"] if r["action"] == "FailJob"]
    assert rule["onExitCodes"] == {
        "containerName": container("shards")["name"], "operator": "In", "values": [2],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["plan", "shards", "finish"])
def test_every_job_is_confined_and_finds_its_models(name: str) -> None:
    pod, found = job(name)["spec"]["template"]["spec"], container(name)
    assert pod["securityContext"]["runAsNonRoot"] is True
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert f"USER {pod['securityContext']['runAsUser']}:" in dockerfile
    assert found["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert found["resources"]["limits"].keys() == {"memory"}  # a limit of CPU would only slow it
    mounts = {mount["name"]: mount for mount in found["volumeMounts"]}
    assert mounts["models"] == {"name": "models", "mountPath": "/models", "readOnly": True}
    assert "REVERIE_MODELS_STORE=/models" in dockerfile
    assert {volume["name"] for volume in pod["volumes"]} == set(mounts)


@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck_finds_nothing_in_the_slurm_scripts(script: str) -> None:
    run(require("shellcheck", package="shellcheck"), script)


@pytest.mark.parametrize("script", SCRIPTS)
def test_slurm_scripts_call_the_shard_with_arguments_that_it_knows(script: str) -> None:
    text = (ROOT / script).read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^exec srun (.*)$", text, re.MULTILINE)
    words = shlex.split(re.sub(r"\$OF", "3", re.sub(r"\$\{[^}]*\}|\$OUT|\$PYTHON", "x", line)))
    assert words[1:3] == SHARD[1:]
    given = accepted(shard_app, words[3:])
    assert given["finishing"] is ("finish" in script)
    assert given["index"] is None  # SLURM_ARRAY_TASK_ID says it


def test_the_ray_job_calls_reverie_and_names_the_ray_that_is_pinned() -> None:
    spec = yaml.safe_load(RAY_JOB.read_text())["spec"]
    program, *arguments = shlex.split(spec["entrypoint"])
    assert program == "reverie"
    given = augment(arguments)
    assert (given["backend"], given["ray_address"]) == ("ray", "auto")
    cluster = spec["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    (made,) = workers["template"]["spec"]["containers"]
    cpus = int(made["resources"]["requests"]["cpu"]) * workers["replicas"]
    assert given["workers"] == cpus
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines()[1:]
    )
    assert cluster["rayVersion"] == pins["ray"]
    dockerfile = (ROOT / "deploy/ray/Dockerfile").read_text()
    assert f"rayproject/ray:{pins['ray']}-" in dockerfile
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"cpu", "ray", "report"} <= project["optional-dependencies"].keys()


def test_hadolint_finds_nothing_in_the_image_for_ray() -> None:
    run(require("hadolint", package="hadolint"), "deploy/ray/Dockerfile")
