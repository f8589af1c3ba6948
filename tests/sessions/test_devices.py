"""Devices: chosen by what the driver shows, told of once, and shared out among models."""

import pytest
from structlog.testing import capture_logs

from service.sessions import devices
from service.sessions.devices import choose_devices, count_gpus, place


@pytest.fixture
def machine(monkeypatch):
    """A machine with so many GPUs, and onnxruntime with or without its CUDA provider."""

    def made(gpus: int, *, installed: bool = True) -> None:
        choose_devices.cache_clear()
        monkeypatch.setattr(devices, "count_gpus", lambda: gpus)
        monkeypatch.setattr(devices, "cuda_is_built_in", lambda: installed)

    yield made
    choose_devices.cache_clear()


@pytest.mark.parametrize(
    ("asked", "gpus", "chosen"),
    [
        ("cpu", 2, ("cpu",)),
        ("auto", 0, ("cpu",)),
        ("auto", 1, ("cuda:0",)),
        ("auto", 2, ("cuda:0", "cuda:1")),
        ("cuda", 2, ("cuda:0", "cuda:1")),
        ("cuda:1", 2, ("cuda:1",)),
        ("cuda:0,cuda:2", 3, ("cuda:0", "cuda:2")),
        ("cuda:1", 1, ("cpu",)),
        ("cuda:0,cuda:7", 2, ("cuda:0",)),
    ],
)
def test_a_setting_names_devices_that_are_there(machine, asked, gpus, chosen):
    machine(gpus)
    assert choose_devices(asked) == chosen


@pytest.mark.parametrize(
    ("asked", "gpus", "installed", "reason"),
    [
        ("cuda:0", 0, True, "no NVIDIA driver shows a GPU"),
        ("auto", 0, True, "no NVIDIA driver shows a GPU"),
        ("cuda", 0, False, "no NVIDIA driver shows a GPU"),
        ("cuda:0", 1, False, "no CUDA provider"),
        ("cuda:3", 2, True, "there is no cuda:3"),
    ],
)
def test_what_is_in_the_way_is_said_once_with_a_remedy(machine, asked, gpus, installed, reason):
    machine(gpus, installed=installed)
    with capture_logs() as logs:
        for _ in range(3):
            choose_devices(asked)
    (line,) = logs
    assert line["event"] == "device_unavailable"
    assert reason in line["reason"]
    assert "REVERIE_DEVICE=cpu" in line["remedy"]


@pytest.mark.parametrize(("asked", "gpus"), [("auto", 0), ("auto", 2), ("cpu", 0)])
def test_nothing_is_said_where_nothing_is_missing(machine, asked, gpus):
    machine(gpus, installed=False)
    with capture_logs() as logs:
        choose_devices(asked)
    assert logs == []


def test_models_take_turns_over_the_devices_and_versions_stay_together():
    names = ["d", "a", "c", "b", "a"]
    found = {name: place(name, names, ("cuda:0", "cuda:1")) for name in names}
    assert found == {"a": "cuda:0", "b": "cuda:1", "c": "cuda:0", "d": "cuda:1"}
    assert place("c", names, ("cpu",)) == "cpu"


def test_counting_needs_no_driver():
    assert count_gpus() >= 0
