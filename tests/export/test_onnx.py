"""The ONNX file: a plain graph that says what it takes and what it answers."""

import collections
import importlib
import json
import re
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from PIL import Image

from jaxft.errors import UserError
from jaxft.export import network, onnx, onnx_nodes, onnx_translation, opening
from jaxft.export.subject import Subject
from jaxft.models.registry import create

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module", name="subject")
def _subject(finished):
    import tiny_body

    from jaxft.models.registry import BODIES

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BODIES, "tiny", tiny_body.body)
        return opening.of_run(finished)


@pytest.fixture(scope="module", name="folder")
def _folder(subject, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    onnx.write(subject, folder)
    return folder


@pytest.fixture(name="session")
def _session(folder):
    return onnxruntime.InferenceSession(folder / "model.onnx")


def pixels(count, side):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


def test_any_batch_is_answered_as_the_run_answers(subject, session):
    images = pixels(3, subject.canvas)
    answer = jax.jit(network.probabilities(subject, subject.weights))
    for count in (1, 3):
        (found,) = session.run(None, {"images": images[:count]})
        np.testing.assert_allclose(found, answer(images[:count]), atol=1e-6)


def test_the_file_says_what_it_takes_and_what_the_numbers_are(subject, session):
    (given,), (told,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type) == ("images", "tensor(uint8)")
    assert given.shape == ["batch", 36, 36, 3]
    assert (told.name, told.type) == ("probabilities", "tensor(float)")
    assert told.shape == ["batch", 3]
    about = session.get_modelmeta()
    facts = about.custom_metadata_map
    assert json.loads(facts["classes"]) == ["blue", "green", "red"]
    assert (facts["canvas"], facts["image_size"]) == ("36", "32")
    assert json.loads(facts["mean"]) == list(subject.model.preprocessing.mean)
    assert json.loads(facts["std"]) == list(subject.model.preprocessing.std)
    assert facts["interpolation"] == subject.settings.data.interpolation
    assert about.producer_name == "jaxft" and facts["jaxft"]


def test_the_lines_on_the_card_run_as_they_stand_without_jax(subject, folder, drawn):
    (source,) = re.findall(r"```python\n(.*?)```", onnx.usage(subject), re.S)
    Image.open(drawn / "red" / "00.png").convert("RGB").save(folder / "photo.jpg")
    blocked = "import sys\nsys.modules.update(jaxft=None, jax=None)\n"
    done = subprocess.run(
        [sys.executable, "-c", blocked + source], cwd=folder, capture_output=True, text=True
    )
    assert done.stdout.strip() in ("blue", "green", "red"), done.stderr


def untrained(name, size, **head: Any):
    """A network with random weights and made-up statistics, as a format takes it."""
    net = create(name, 3, conv="native", **head)
    settings: Any = SimpleNamespace(phases=[SimpleNamespace(image_size=size)])
    return Subject(settings, ("a", "b", "c"), net, tiny.weights(net), {})


@pytest.mark.slow
def test_batchnorm_is_in_the_kernels_and_relu6_is_one_clip():
    subject = untrained("efficientnet_lite0", 64, hidden=(), pooling="avg")
    kinds = collections.Counter(node.kind for node in onnx.drawn(subject).nodes)
    assert kinds == {
        **{"Cast": 1, "Transpose": 1, "Resize": 1, "Sub": 1, "Mul": 2},
        **{"Conv": 49, "Clip": 33, "Add": 9},  # 17 of them after a 1x1 or the stem, 16 depthwise
        **{"ReduceSum": 1, "Div": 1, "Gemm": 1, "Softmax": 1},
    }


@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize("padding", ["SAME", ((1, 1), (1, 1)), "VALID"])
def test_a_convolution_is_padded_as_jax_pads_it(padding, size):
    """A stride of 2 on an even side: SAME pads after the image only."""
    kernel = jnp.asarray(np.random.default_rng(1).normal(size=(3, 3, 2, 4)), jnp.float32)

    def convolve(x):
        return jax.lax.conv_general_dilated(
            x, kernel, (2, 2), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    check(convolve, np.random.default_rng(2).normal(size=(1, size, size, 2)))


def test_the_maxima_of_windows_are_padded_with_nothing():
    """All are below 0, so that zeros at the edges would show."""

    def pool(x):
        edges = ((0, 0), (1, 1), (1, 1), (0, 0))
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), edges)

    check(pool, np.random.default_rng(2).normal(size=(1, 7, 8, 2)) - 9)


def test_a_result_that_is_used_twice_keeps_its_own_node():
    kernel = jnp.ones((1, 1, 2, 2))
    bias = np.asarray([1, 2], np.float32)

    def twice(x):
        y = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return (y + bias) * y

    check(twice, np.random.default_rng(2).normal(size=(1, 4, 4, 2)))


def test_what_has_no_translation_is_named():
    with pytest.raises(UserError, match="no translation into ONNX of JAX's sin"):
        check(jnp.sin, np.ones((1, 4, 4, 2)))
    with pytest.raises(UserError, match="other axes than the pixels'"):
        check(lambda x: x.max((0, 1), keepdims=True), np.ones((1, 4, 4, 2)))


def check(function, x):
    """Hold a function of one array of four axes against its translation, run by ONNX Runtime."""
    x = x.astype(np.float32)
    wanted = function(x).transpose(0, 3, 1, 2)
    graph = onnx_nodes.Graph()
    (name,) = onnx_translation.translate(graph, jax.make_jaxpr(function)(x), ["x"])
    session = onnxruntime.InferenceSession(serialised(onnx_nodes.join(graph), name, x, wanted))
    (found,) = session.run(None, {"x": x.transpose(0, 3, 1, 2)})
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def serialised(graph, name, x, wanted):
    helper: Any = importlib.import_module("onnx.helper")
    numpy_helper: Any = importlib.import_module("onnx.numpy_helper")
    batch, height, width, channels = x.shape
    made = helper.make_graph(
        [helper.make_node(kind, ins, [out], **more) for kind, ins, out, more in graph.nodes],
        "small",
        [helper.make_tensor_value_info("x", 1, [batch, channels, height, width])],
        [helper.make_tensor_value_info(name, 1, list(wanted.shape))],
        [numpy_helper.from_array(array, key) for key, array in graph.constants.items()],
    )
    opset = [helper.make_opsetid("", onnx.OPSET)]
    return helper.make_model(made, opset_imports=opset, ir_version=8).SerializeToString()
