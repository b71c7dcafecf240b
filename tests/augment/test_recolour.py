"""Operations on colours against Pillow's, and both ways of choosing each image's own."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import photos
import pytest
from PIL import Image, ImageEnhance, ImageOps

from jaxft.augment.policy import Chosen, Operation
from jaxft.augment.recolour import COLOURS, equalize, recolour
from jaxft.devices import platform

pytestmark = pytest.mark.one_device

SIZE = 64
ENHANCERS = {
    Operation.BRIGHTNESS: ImageEnhance.Brightness,
    Operation.COLOR: ImageEnhance.Color,
    Operation.CONTRAST: ImageEnhance.Contrast,
    Operation.SHARPNESS: ImageEnhance.Sharpness,
}
FACTORS = -0.99, -0.3, 0.0, 0.27, 0.9
CASES = [(name, by) for name in ENHANCERS for by in FACTORS]
CASES += [(Operation.POSTERIZE, bits) for bits in (2, 4, 7, 8)]
CASES += [(Operation.SOLARIZE, level) for level in (0, 76.5, 178.5, 255)]
CASES += [(Operation.AUTOCONTRAST, 0)]


def images() -> np.ndarray:
    """A photo, noise, a gradient, few levels, mostly one level, and one colour."""
    random = np.random.default_rng(0)
    photo = photos.photo("china.jpg")
    y, x = np.mgrid[:SIZE, :SIZE]
    return np.stack(
        [
            np.asarray(Image.fromarray(np.asarray(photo)).resize((SIZE, SIZE))),
            random.integers(0, 256, (SIZE, SIZE, 3)),
            np.stack([x + y, y // 2, 90 - x], -1),
            random.integers(100, 104, (SIZE, SIZE, 3)),
            random.choice([3, 4, 200, 255], (SIZE, SIZE, 3), p=(0.7, 0.02, 0.27, 0.01)),
            np.full((SIZE, SIZE, 3), (255, 0, 130)),
        ]
    ).astype(np.uint8)


def by_pillow(name: Operation, magnitude: float, pixels: np.ndarray) -> np.ndarray:
    image = Image.fromarray(pixels)
    if name in ENHANCERS:
        return np.asarray(ENHANCERS[name](image).enhance(1 + magnitude))
    changed = {
        Operation.POSTERIZE: lambda: ImageOps.posterize(image, int(magnitude)),
        Operation.SOLARIZE: lambda: ImageOps.solarize(image, math.ceil(magnitude)),
        Operation.AUTOCONTRAST: lambda: ImageOps.autocontrast(image),
        Operation.EQUALIZE: lambda: ImageOps.equalize(image),
    }[name]()
    return np.asarray(changed)


@pytest.mark.parametrize(("name", "magnitude"), CASES)
def test_an_operation_is_pillows(name, magnitude):
    pixels = images()
    numbers = jnp.full(len(pixels), magnitude, jnp.float32)
    got = np.asarray(COLOURS[name](jnp.asarray(pixels, jnp.float32) / 255, numbers)) * 255
    assert got.min() >= 0 and got.max() <= 255
    expected = np.stack([by_pillow(name, magnitude, image) for image in pixels])
    # Pillow cuts off what is behind the comma, of the gray and of the smoothed image, too.
    tolerance = 0.01 if name in {Operation.POSTERIZE, Operation.SOLARIZE} else 1.6
    np.testing.assert_allclose(got, expected, atol=tolerance)


@pytest.mark.parametrize("target", ["cpu", "tpu"])
def test_both_ways_to_equalize_are_pillows(target):
    """Of one level the images have more pixels than bfloat16 can count."""
    pixels = images()
    with platform.targeting(target, target):
        got = equalize(jnp.asarray(pixels, jnp.float32) / 255, jnp.zeros(len(pixels)))
    expected = [by_pillow(Operation.EQUALIZE, 0, image) for image in pixels]
    np.testing.assert_allclose(np.asarray(got) * 255, expected, atol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cpu", "tpu"])
def test_each_image_gets_its_own_operations_in_turn(name):
    pixels = np.repeat(images()[:1], len(Operation), axis=0)
    first, second = np.arange(len(Operation)), np.arange(len(Operation))[::-1]
    magnitudes = {Operation.POSTERIZE: 3.0, Operation.SOLARIZE: 110.0}
    drawn = [[magnitudes.get(Operation(i), 0.4) for i in row] for row in (first, second)]
    chosen = Chosen(jnp.asarray([first, second]), jnp.asarray(drawn, jnp.float32))
    view = jnp.asarray(pixels, jnp.float32) / 255
    with platform.targeting(name, name):
        got = jax.jit(recolour)(view, chosen)
    for image, (one, other) in enumerate(zip(first, second, strict=True)):
        expected = view[image : image + 1]
        for which, by in ((one, drawn[0][image]), (other, drawn[1][image])):
            function = COLOURS.get(Operation(int(which)), lambda image, _: image)
            expected = jax.jit(function)(expected, jnp.full(1, by, jnp.float32))
        # A level may fall on the other side of a step, by rounding.
        apart = np.abs(np.asarray(got[image] - expected[0])) > 1e-5
        assert apart.mean() < 1e-3, (one, other)


def test_no_gather_and_no_scatter_on_tpu():
    view = jnp.zeros((2, 8, 8, 3))
    chosen = Chosen(jnp.zeros((1, 2), jnp.int32), jnp.zeros((1, 2)))
    with platform.targeting("tpu", "v5e"):
        text = str(jax.make_jaxpr(partial(recolour, view))(chosen))
    assert "dot_general" in text and "gather[" not in text and "scatter" not in text
