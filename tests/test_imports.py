"""Any exported generator is served, or refused with the way to mend it."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from service.contract import PackageError, Role, read_package
from service.engine import open_engine
from service.imports import add_generator
from service.queries import Call, Interpolate, Sample, SeedPoint
from service.settings import Settings
from tests.packages import graph, tensor


def generator(*, latent=(8,), shape=(3, 4, 4), last="Tanh", batch="n", labels=0) -> bytes:
    """z → tanh(zW (+ E[label])) as an image, in whatever shape the test wants."""
    size, pixels = int(np.prod(latent)), int(np.prod(shape))
    draw = np.random.default_rng(0)
    constants = {
        "W": draw.standard_normal((size, pixels)).astype(np.float32),
        "flat": np.int64([-1, size]),
        "image": np.int64([-1, *shape]),
        "E": draw.standard_normal((max(labels, 1), pixels)).astype(np.float32),
    }
    inputs = [helper.make_tensor_value_info("noise", TensorProto.FLOAT, [batch, *latent])]
    nodes = [
        helper.make_node("Reshape", ["noise", "flat"], ["z"]),
        helper.make_node("MatMul", ["z", "W"], ["a"]),
    ]
    if labels:
        inputs.append(helper.make_tensor_value_info("y", TensorProto.INT64, [batch]))
        nodes += [
            helper.make_node("Gather", ["E", "y"], ["e"]),
            helper.make_node("Add", ["a", "e"], ["b"]),
        ]
    nodes += [
        helper.make_node(last, ["b" if labels else "a"], ["t"]),
        helper.make_node("Reshape", ["t", "image"], ["img"]),
    ]
    out = helper.make_tensor_value_info("img", TensorProto.FLOAT, [batch, *shape])
    made = helper.make_graph(
        nodes, "g", inputs, [out], [numpy_helper.from_array(a, n) for n, a in constants.items()]
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return model.SerializeToString()


def add(store, content, **options):
    return add_generator(content, store=store, name="mine", version=1, **options)


@pytest.mark.parametrize(
    ("options", "shape", "range_"),
    [
        ({}, (3, 4, 4), (-1.0, 1.0)),
        ({"last": "Sigmoid", "shape": (1, 8, 6)}, (1, 8, 6), (0.0, 1.0)),
        ({"latent": (8, 1, 1)}, (3, 4, 4), (-1.0, 1.0)),
        ({"shape": (5, 5)}, (1, 5, 5), (-1.0, 1.0)),
    ],
)
async def test_a_foreign_generator_is_read_and_served(tmp_path, options, shape, range_):
    imported = add(tmp_path, generator(**options))
    assert imported.manifest.data.shape == shape
    assert imported.manifest.data.range == range_
    assert imported.manifest.latent.size == 8
    assert read_package(imported.directory) == imported.manifest
    engine = await open_engine(Settings(models_store=tmp_path, device="cpu"))
    model = engine.registry.get("mine")
    sampled = await engine.run(model, Sample(n=3, seed=2), Call.lasting(30))
    assert sampled.samples.shape == (3, *shape)
    assert 0 <= sampled.samples.min() < sampled.samples.max() <= 1
    path = Interpolate(points=(SeedPoint(2), SeedPoint(3)), frames=4)
    frames = (await engine.run(model, path, Call.lasting(30))).frames
    assert frames[0].tobytes() == sampled.samples[0].tobytes()
    await engine.stop()


async def test_a_conditional_generator_tells_how_many_classes_it_has(tmp_path):
    imported = add(tmp_path, generator(labels=7))
    assert len(imported.manifest.labels.names) == 7
    engine = await open_engine(Settings(models_store=tmp_path, device="cpu"))
    query = Sample(n=2, seed=1, labels=(6,))
    assert (await engine.run(engine.registry.get("mine"), query, Call.lasting(30))).seed == 1
    await engine.stop()


def test_findings_say_what_it_will_be_able_to_do(tmp_path):
    said = "\n".join(add(tmp_path, generator()).findings)
    assert "latent: 'noise', 8 numbers" in said
    assert "able to: sample, interpolate" in said


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (generator(batch=4), "fixed first axis .4, 8.: export with a dynamic batch axis"),
        (generator(last="Exp"), "none of .0, 1., .-1, 1., .0, 255.: end the generator"),
        (generator(last="Log"), "not finite"),
        (generator(shape=(2, 4, 4)), r"images are \[n, C, H, W\] with 1 or 3 channels"),
        (generator(latent=(2, 4)), "must have one axis above 1"),
        (b"not onnx", "not an ONNX model"),
        (
            graph(
                [helper.make_node("Identity", ["z"], ["x"]),
                 helper.make_node("Identity", ["z"], ["w"])],
                [tensor("z", 4, role=Role.LATENT)],
                [tensor("x", 4, role=Role.DATA), tensor("w", 4, role=Role.DATA)],
                {},
            ),
            "has outputs x, w: a generator has one",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_served_is_refused_with_the_remedy(tmp_path, content, complaint):
    with pytest.raises(PackageError, match=complaint):
        add(tmp_path, content)
    assert not list(tmp_path.iterdir())
