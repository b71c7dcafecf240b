"""The models compute what their PyTorch originals compute; tests/golden/make_*.py made the values.

At full size, with every array: bench/parity.py.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from photos import PHOTOS, photo
from places import GOLDEN
from random_weights import images, project, weight

import parity
from jaxft.models.model import Model
from jaxft.models.registry import create
from jaxft.models.weights import pretrained, torch_names
from jaxft.models.weights.torch_names import body_from_torch, to_torch
from jaxft.models.weights.weight_file import read_weights

pytestmark = pytest.mark.one_device

DAISY = 985


def _model(name: str) -> Model:
    return create(name, 1000, hidden=(), pooling="avg")


def _imagenet_logits(pixels: np.ndarray) -> np.ndarray:
    model = _model("efficientnet_lite0")
    path = pretrained.imagenet_path()
    params, stats = body_from_torch(model.name, read_weights(path), with_head=True)

    @jax.jit
    def logits(params, stats, pixels):
        x = (pixels - jnp.array(model.preprocessing.mean)) / jnp.array(model.preprocessing.std)
        features, _ = model.features(params, stats, x)
        return model.classify(params, {**stats, "head": {}}, features)[0]

    return np.asarray(logits(params, stats, pixels))


@pytest.mark.slow
def test_efficientnet_lite0_gives_the_originals_imagenet_logits():
    golden = np.load(GOLDEN / "efficientnet_lite0.npz")
    pixels = np.stack([photo(name) for name in PHOTOS])
    np.testing.assert_array_equal(
        pixels.sum((1, 2), dtype=np.int64), golden["sums"], "Pillow decodes or resizes otherwise"
    )
    logits = _imagenet_logits(pixels)
    assert np.abs(logits - golden["logits"]).max() < 1e-4 * np.abs(golden["logits"]).max()
    assert logits[PHOTOS.index("flower.jpg")].argmax() == DAISY


def _random_torch_arrays(name: str) -> dict[str, np.ndarray]:
    return {entry.name: weight(entry.name, entry.shape) for entry in torch_names.entries(name)}


def _infer(model: Model, params, stats, x):
    features, _ = model.features(params, stats, x)
    outputs = parity.run_body(model, params, stats, x, train=False)[1]
    return model.classify(params, {**stats, "head": {}}, features)[0], outputs


def _loss(model: Model, params, stats, x):
    features, outputs, new = parity.run_body(model, params, stats, x, train=True)
    logits, _ = model.classify(params, {**stats, "head": {}}, features)
    return -jnp.trace(jax.nn.log_softmax(logits)) / len(x), (logits, outputs, new)


def _float64_arguments(name: str):
    params, stats = body_from_torch(name, _random_torch_arrays(name), with_head=True)
    return jax.tree.map(lambda a: jnp.asarray(a, "float64"), (params, stats, images(3, 64)))


def _assert_close(value, golden: np.ndarray) -> None:
    # The golden values are rounded to float32.
    np.testing.assert_allclose(value, golden, atol=1e-6 * np.abs(golden).max())


def _assert_projections(arrays: dict[str, np.ndarray], names, golden: np.ndarray) -> None:
    found = {name: project(name, arrays[name]) for name in names}
    off = [
        f"{name}: {found[name]}, should be {value}"
        for name, value in zip(names, golden, strict=True)
        if not np.isclose(found[name], value, rtol=1e-7, atol=1e-9)
    ]
    assert not off, f"the first of {len(off)} that differ: {off[0]}"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d"])
def test_resnet_gives_torchvisions_logits_block_by_block(name):
    golden = np.load(GOLDEN / f"{name}.npz")
    with jax.enable_x64(True):
        infer = jax.jit(partial(_infer, _model(name)))
        logits, outputs = jax.device_get(infer(*_float64_arguments(name)))
    assert outputs.keys() == set(golden["output_names"])
    _assert_projections(outputs, golden["output_names"], golden["eval_outputs"])
    _assert_close(logits, golden["eval_logits"])


@pytest.mark.parametrize(
    "name", ["resnet18", pytest.param("resnext50_32x4d", marks=pytest.mark.slow)]
)
def test_a_training_step_of_resnet_gives_torchvisions_gradients_and_running_statistics(name):
    golden = np.load(GOLDEN / f"{name}.npz")
    with jax.enable_x64(True):
        step = jax.jit(jax.grad(partial(_loss, _model(name)), has_aux=True))
        gradients, (logits, outputs, stats) = jax.device_get(step(*_float64_arguments(name)))
    found = to_torch(name, gradients, stats)
    _assert_projections(outputs, golden["output_names"], golden["train_outputs"])
    _assert_close(logits, golden["train_logits"])
    _assert_projections(found, golden["gradient_names"], golden["gradients"])
    _assert_projections(found, golden["stat_names"], golden["stats"])


# --- what bench/parity.py says of a difference ------------------------------------------------


def test_the_comparison_names_the_first_array_that_differs_and_the_worst():
    wanted = {name: np.array([1.0, -2.0]) for name in ("stem", "layer1", "layer2", "layer3")}
    found = {
        "stem": np.array([1.0, -2.0]),
        "layer3": np.array([1.4, -2.0]),
        "layer2": np.array([1.0, -2.2]),
        "layer1": np.array([1.0 + 1e-9, -2.0]),
    }
    told = parity.compare(found, wanted, 1e-8)
    assert (told["first"], told["first_error"]) == ("layer2", pytest.approx(0.1))
    assert (told["worst"], told["error"], told["arrays"]) == ("layer3", pytest.approx(0.2), 4)
    row = parity.Difference("resnet18", "cpu", "outputs", **told)
    assert "FAILS the bound of 1e-08, first in layer2 (1.0e-01)" in parity.line(row)
    assert parity.compare(found, wanted, 0.3)["first"] is None
    assert parity.compare(found, wanted, None)["first"] is None


@pytest.mark.parametrize(
    "found", [{}, {"a": np.ones(3)}, {"a": [np.nan, 1]}, {"a": [1, 1], "b": 0}]
)
def test_what_is_missing_misshapen_or_no_number_differs(found):
    assert parity.compare(found, {"a": np.ones(2)}, 1e-8)["error"] == np.inf
