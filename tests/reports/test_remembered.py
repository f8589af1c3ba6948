"""What reports remember of real rows: the same bytes, in less time."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

import numpy as np
import pytest

from service.augmentation.destination import LocalFolder
from service.augmentation.report_process import make_report
from service.reports import remembered
from service.reports.image_report import image_report
from service.reports.remembered import Remembered
from service.reports.writing import files_of
from tests.augmentation.orders import contents, engine_of, fulfil
from tests.reports.data import ABOUT, bars
from tests.reports.test_image_report import REAL
from tests.reports.test_orders import ordered


def report_with(memory: Remembered, *, rows: int = 300, seed: int = 3) -> dict[str, bytes]:
    real = replace(REAL, recall=memory)
    return files_of(image_report(bars(rows, seed=seed), real, None, ABOUT))


def never() -> dict:
    raise AssertionError("it is remembered")


def test_a_report_is_the_same_bytes_with_what_an_earlier_one_has_found(tmp_path):
    first = Remembered(tmp_path, reference="a")
    report_with(first, seed=4)
    first.keep()
    afresh = files_of(image_report(bars(300, seed=3), REAL, None, ABOUT))
    assert report_with(Remembered(tmp_path, reference="a")) == afresh


def test_what_was_found_is_not_found_again(tmp_path):
    first = Remembered(tmp_path, reference="a")
    first("radius", lambda: {"r": np.array([1.5, 0.1])})
    first.keep()
    assert Remembered(tmp_path, reference="a")("radius", never)["r"].tolist() == [1.5, 0.1]


@pytest.mark.parametrize("source", [{"reference": "b"}, {"reference": "a", "judge": "j"}])
def test_another_reference_or_judge_has_a_memory_of_its_own(tmp_path, source):
    assert Remembered(tmp_path, **source).file != Remembered(tmp_path, reference="a").file


def test_fewer_rows_than_the_hold_out_are_not_compared_with_what_all_of_it_gave(tmp_path):
    memory = Remembered(tmp_path, reference="a")
    report_with(memory, rows=80)
    memory.keep()
    assert not memory.file.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"no archive"])
def test_a_damaged_memory_is_made_again(tmp_path, content):
    memory = Remembered(tmp_path, reference="a")
    memory.file.write_bytes(content)
    again = Remembered(tmp_path, reference="a")
    again("radius", lambda: {"r": np.ones(1)})
    again.keep()
    assert Remembered(tmp_path, reference="a")("radius", never)["r"] == 1


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path):
    (tmp_path / "reports").write_text("a file where the folder should be")
    memory = Remembered(tmp_path / "reports", reference="a")
    memory("radius", lambda: {"r": np.ones(1)})
    memory.keep()


def test_old_memories_go(tmp_path, monkeypatch):
    monkeypatch.setattr(remembered, "MOST_FILES", 2)
    files = []
    for at, reference in enumerate("abc"):
        memory = Remembered(tmp_path, reference=reference)
        memory("radius", lambda: {"r": np.ones(1)})
        memory.keep()
        os.utime(memory.file, (at, at))
        files.append(memory.file)
    memory = Remembered(tmp_path, reference="d")
    memory("radius", lambda: {"r": np.ones(1)})
    memory.keep()
    assert {*tmp_path.iterdir()} == {files[2], memory.file}


async def test_orders_of_one_model_share_what_their_reports_find(reported_store, tmp_path):
    async with engine_of(reported_store) as engine:
        found = {}
        for name in ("first", "second", "alone"):
            order = ordered(engine)
            folder = None if name == "alone" else tmp_path / "reports"

            async def here(order=order, name=name, folder=folder) -> dict:
                there = LocalFolder(tmp_path / name)
                store = engine.settings.models_store
                return await asyncio.to_thread(make_report, order, there, store, folder)

            await fulfil(engine, order, tmp_path / name, report=here)
            found[name] = contents(tmp_path / name)
    assert found["first"] == found["second"] == found["alone"]
    assert len([*(tmp_path / "reports").iterdir()]) == 1
