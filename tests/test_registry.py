"""A bad package fails with its reason, and the rest serve."""

import asyncio
import json
import shutil

import pytest

from service.contract import Role, sha256_of
from service.engine import open_engine
from service.errors import NotReady, UnknownModel
from service.queries import Call, Sample
from service.settings import Settings
from tests.packages import graph, tensor, write_tiny_gan, write_tiny_rbm


async def engine_of(store):
    return await open_engine(Settings(models_store=store, device="cpu"))


def state(engine, name):
    entry = engine.registry.entry(name)
    return entry.state, entry.reason


async def test_every_package_is_loaded_and_found_by_name_and_version(store):
    write_tiny_gan(store, version=2)
    engine = await engine_of(store)
    assert [e.name + "@" + str(e.version) for e in engine.registry.entries()] == [
        "tiny-gan@1", "tiny-gan@2", "tiny-rbm@1",
    ]  # fmt: skip
    assert engine.registry.get("tiny-gan").id == "tiny-gan@2"
    assert engine.registry.get("tiny-gan@1").id == "tiny-gan@1"
    assert engine.ready
    await engine.stop()
    assert not engine.ready


async def test_an_unknown_model_is_told_what_there_is(store):
    engine = await engine_of(store)
    with pytest.raises(UnknownModel, match="this service has tiny-gan, tiny-rbm"):
        engine.registry.get("nobody")
    with pytest.raises(UnknownModel, match="its versions here are 1"):
        engine.registry.get("tiny-gan@7")
    with pytest.raises(UnknownModel):
        engine.registry.get("tiny-gan@")
    await engine.stop()


async def test_a_damaged_package_fails_and_the_rest_serve(store):
    (store / "tiny-gan" / "1" / "generate.onnx").write_bytes(b"damaged")
    engine = await engine_of(store)
    failed, reason = state(engine, "tiny-gan")
    assert failed == "failed"
    assert "generate.onnx has sha256" in reason
    with pytest.raises(NotReady, match="failed to load"):
        engine.registry.get("tiny-gan")
    assert engine.registry.get("tiny-rbm")
    assert engine.ready
    await engine.stop()


async def test_a_newer_version_that_failed_leaves_the_older_one_serving(store):
    broken = write_tiny_gan(store, version=2)
    (broken / "score.onnx").write_bytes(b"")
    engine = await engine_of(store)
    assert engine.registry.get("tiny-gan").id == "tiny-gan@1"
    await engine.stop()


def replace_generator(package, content):
    """Put another graph into a package, with a manifest that has its right digest."""
    (package / "generate.onnx").write_bytes(content)
    file = package / "manifest.json"
    manifest = json.loads(file.read_text())
    for function in manifest["functions"].values():
        if function["file"] == "generate.onnx":
            function["sha256"] = sha256_of(content)
    file.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("inputs", "outputs", "reason"),
    [
        (("w", 4), ("x", 1, 4, 4), "the graph also wants w"),
        (("z", 5), ("x", 1, 4, 4), r"'z' is \['n', 5\] in the graph, not \['n', 4\]"),
        (("z", 4), ("y", 1, 4, 4), "the graph has no 'x'"),
        (("z", 4), ("x", 16), "'x' has 2 axes in the graph, not 4"),
    ],
)
async def test_a_manifest_that_disagrees_with_its_graph_is_refused(store, inputs, outputs, reason):
    import numpy as np
    from onnx import helper

    z = tensor(inputs[0], *inputs[1:], role=Role.LATENT)
    x = tensor(outputs[0], *outputs[1:], role=Role.DATA)
    nodes = [
        helper.make_node("ReduceMean", [z.name, "one"], ["m"], keepdims=1),
        helper.make_node("Mul", ["m", "ones"], ["wide"]),
        helper.make_node("Reshape", ["wide", "shape"], [x.name]),
    ]
    constants = {
        "one": np.int64([1]),
        "ones": np.ones((1, 16), np.float32),
        "shape": np.int64([-1, *outputs[1:]]),
    }
    replace_generator(store / "tiny-gan" / "1", graph(nodes, [z], [x], constants))
    engine = await engine_of(store)
    failed, said = state(engine, "tiny-gan")
    assert failed == "failed"
    assert pytest.importorskip("re").search(reason, said)
    await engine.stop()


async def test_reasons_name_no_path_of_this_machine(store):
    replace_generator(store / "tiny-gan" / "1", b"\x08\x01 not a graph")
    engine = await engine_of(store)
    failed, reason = state(engine, "tiny-gan")
    assert failed == "failed"
    assert str(store) not in reason
    assert "/" not in reason.replace("tiny-gan/1", "")
    await engine.stop()


async def test_an_empty_store_is_ready_and_says_so(tmp_path):
    engine = await engine_of(tmp_path)
    assert engine.ready
    with pytest.raises(UnknownModel, match="no models"):
        engine.registry.get("any")
    await engine.stop()


async def test_calibration_scores_must_rise(store):
    import io

    import numpy as np

    package = write_tiny_rbm(store, name="other")
    manifest = json.loads((package / "manifest.json").read_text())
    entry = manifest["scores"][0]["calibration"]
    out = io.BytesIO()
    np.save(out, np.array([3, 1, 2], np.float32))
    (package / entry["file"]).write_bytes(out.getvalue())
    entry.update(sha256=sha256_of(out.getvalue()), n=3)
    (package / "manifest.json").write_text(json.dumps(manifest))
    engine = await engine_of(store)
    assert "in rising order" in state(engine, "other")[1]
    await engine.stop()


async def test_the_seed_promise_is_what_was_measured(store):
    engine = await engine_of(store)
    assert "on every device" in engine.registry.get("tiny-rbm").seed_promise
    assert "same bytes" in engine.registry.get("tiny-gan").seed_promise
    await engine.stop()


async def test_a_reload_swaps_models_and_ends_old_work_on_the_old_ones(store):
    engine = await engine_of(store)
    old = engine.registry.get("tiny-rbm")
    running = asyncio.create_task(
        engine.run(old, Sample(n=2, seed=1, burn_in=3000), Call.lasting(30))
    )
    while not old.running_rows:
        await asyncio.sleep(0)
    write_tiny_rbm(store, version=2)
    shutil.rmtree(store / "tiny-rbm" / "1")
    unchanged = engine.registry.get("tiny-gan")
    await engine.reload()
    assert engine.registry.get("tiny-rbm").id == "tiny-rbm@2"
    assert engine.registry.get("tiny-gan") is unchanged
    assert (await running).samples.shape == (2, 1, 4, 4)
    await engine.stop()


async def test_a_changed_package_that_is_bad_leaves_the_old_one_serving(store):
    engine = await engine_of(store)
    old = engine.registry.get("tiny-gan")
    replace_generator(store / "tiny-gan" / "1", b"not a graph")
    await engine.reload()
    assert engine.registry.get("tiny-gan") is old
    answer = await engine.run(old, Sample(n=1, seed=1), Call.lasting(30))
    assert answer.samples.shape == (1, 1, 4, 4)
    await engine.stop()


async def test_a_failed_package_that_is_mended_is_served_after_a_reload(store):
    mended = (store / "tiny-gan" / "1" / "score.onnx").read_bytes()
    (store / "tiny-gan" / "1" / "score.onnx").write_bytes(b"damaged")
    engine = await engine_of(store)
    assert state(engine, "tiny-gan")[0] == "failed"
    (store / "tiny-gan" / "1" / "score.onnx").write_bytes(mended)
    await engine.reload()
    assert state(engine, "tiny-gan") == ("ready", None)
    await engine.stop()
