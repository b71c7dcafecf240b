"""The models compute what their PyTorch originals compute; tests/data/make_*.py made the values."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from photos import PHOTOS, photo
from random_weights import images, project, weight

from jaxft import models
from jaxft.models import torch_names, weights

DATA = Path(__file__).parent / "data"
DAISY = 985


def _model(name: str) -> models.Model:
    return models.create(name, 1000, hidden=(), pooling="avg")


def _imagenet_logits(pixels: np.ndarray) -> np.ndarray:
    model = _model("efficientnet_lite0")
    path = weights.imagenet_path()
    params, stats = weights.body_from_torch(model.name, weights.read_weights(path), with_head=True)

    @jax.jit
    def logits(params, stats, pixels):
        x = (pixels - jnp.array(model.preprocessing.mean)) / jnp.array(model.preprocessing.std)
        features, _ = model.features(params, stats, x)
        return model.classify(params, {**stats, "head": {}}, features)[0]

    return np.asarray(logits(params, stats, pixels))


def test_efficientnet_lite0_gives_the_originals_imagenet_logits():
    golden = np.load(DATA / "efficientnet_lite0.npz")
    pixels = np.stack([photo(name) for name in PHOTOS])
    np.testing.assert_array_equal(
        pixels.sum((1, 2), dtype=np.int64), golden["sums"], "Pillow decodes or resizes otherwise"
    )
    logits = _imagenet_logits(pixels)
    assert np.abs(logits - golden["logits"]).max() < 1e-4 * np.abs(golden["logits"]).max()
    assert logits[PHOTOS.index("flower.jpg")].argmax() == DAISY


def _random_torch_arrays(name: str) -> dict[str, np.ndarray]:
    return {entry.name: weight(entry.name, entry.shape) for entry in torch_names.entries(name)}


def _logits(model: models.Model, params, stats, x, training=()):
    features, new = model.features(params, stats, x, training=training)
    return model.classify(params, {**stats, "head": {}}, features)[0], new


def _loss(model: models.Model, params, stats, x):
    logits, new = _logits(model, params, stats, x, ("early", "late"))
    return -jnp.trace(jax.nn.log_softmax(logits)) / len(x), (logits, new)


def _float64_arguments(name: str):
    params, stats = weights.body_from_torch(name, _random_torch_arrays(name), with_head=True)
    return jax.tree.map(lambda a: jnp.asarray(a, "float64"), (params, stats, images(3, 64)))


def _assert_close(value, golden: np.ndarray) -> None:
    # The golden values are rounded to float32.
    np.testing.assert_allclose(value, golden, atol=1e-6 * np.abs(golden).max())


def _assert_projections(arrays: dict[str, np.ndarray], names, golden: np.ndarray) -> None:
    projections = [project(name, arrays[name]) for name in names]
    np.testing.assert_allclose(projections, golden, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d"])
def test_resnet_gives_torchvisions_logits(name):
    with jax.enable_x64(True):
        logits = jax.jit(partial(_logits, _model(name)))(*_float64_arguments(name))[0]
    _assert_close(logits, np.load(DATA / f"{name}.npz")["eval_logits"])


@pytest.mark.parametrize(
    "name", ["resnet18", pytest.param("resnext50_32x4d", marks=pytest.mark.slow)]
)
def test_a_training_step_of_resnet_gives_torchvisions_gradients_and_running_statistics(name):
    golden = np.load(DATA / f"{name}.npz")
    with jax.enable_x64(True):
        step = jax.jit(jax.grad(partial(_loss, _model(name)), has_aux=True))
        gradients, (logits, stats) = jax.device_get(step(*_float64_arguments(name)))
    found = weights.to_torch(name, gradients, stats)
    _assert_close(logits, golden["train_logits"])
    _assert_projections(found, golden["gradient_names"], golden["gradients"])
    _assert_projections(found, golden["stat_names"], golden["stats"])
