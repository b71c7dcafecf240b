"""The lowerings of the geometry: the same numbers, and programs that TPU's compiler takes."""

import dataclasses
import importlib.util
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import photos
import pytest

from jaxft.augment import draws, geometry, shears, warp
from jaxft.augment.augment import augment
from jaxft.augment.gathers import by_gathers
from jaxft.augment.presets import PRESETS
from jaxft.augment.products import by_products, by_two_products
from jaxft.costs.hlo import computations
from jaxft.costs.traffic import touched
from jaxft.devices import platform, topology

pytestmark = pytest.mark.one_device

SIZE, CANVAS, COUNT = 40, 44, 16
# A quarter of a percent of one of the 255 levels that an image has: rounding.
TOLERANCE = 1e-5
WILD = dataclasses.replace(
    PRESETS["top_down"],
    rotate_degrees=180.0,
    rotate_probability=1.0,
    perspective=0.25,
    crop_min_area=0.08,
)


@pytest.fixture(scope="module")
def noise():
    """The hardest of images: no pixel tells anything of its neighbours."""
    random = np.random.default_rng(0)
    return jnp.asarray(random.integers(0, 256, (COUNT, CANVAS, CANVAS, 3), np.uint8))


def maps_of(settings, side=CANVAS, size=SIZE, count=COUNT):
    drawn = draws.draw(jax.random.split(jax.random.key(1), count), settings)
    maps = geometry.affine(drawn, side, size)
    if not settings.perspective:
        return maps
    return geometry.perspective(drawn, side) @ geometry.as_homographies(maps)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PRESETS, "wild", "any rotation"])
def test_products_equal_gathers(noise, name):
    rotated = dataclasses.replace(PRESETS["side_on"], rotate_degrees=180.0)
    settings = {**PRESETS, "wild": WILD, "any rotation": rotated}[name]
    maps, limits = maps_of(settings), geometry.limits(settings)
    gathered = jax.jit(by_gathers, static_argnums=2)(noise, maps, SIZE)
    products = jax.jit(by_products, static_argnums=(2, 3))(noise, maps, SIZE, limits)
    np.testing.assert_allclose(products, gathered, atol=TOLERANCE)
    if limits.upright:
        two = jax.jit(by_two_products, static_argnums=2)(noise, maps, SIZE)
        np.testing.assert_allclose(two, gathered, atol=TOLERANCE)


def turned(degrees, **strengths):
    """The default, but every view turned by up to `degrees` degrees."""
    side_on = PRESETS["side_on"]
    return dataclasses.replace(side_on, rotate_degrees=degrees, rotate_probability=1.0, **strengths)


SHEARED = {
    "side_on": PRESETS["side_on"],
    "top_down": PRESETS["top_down"],
    "45 degrees": turned(45.0),
    "any rotation": turned(180.0),
    "cropped": turned(45.0, crop_min_area=0.08, dihedral=True),
    "wide crops": turned(30.0, crop_min_area=0.2, crop_max_ratio=8.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHEARED)
def test_shears_equal_gathers(noise, name):
    settings = SHEARED[name]
    maps, limits = maps_of(settings), geometry.limits(settings)
    gathered = jax.jit(by_gathers, static_argnums=2)(noise, maps, SIZE)
    sheared = jax.jit(shears.by_shears, static_argnums=(2, 3))(noise, maps, SIZE, limits)
    np.testing.assert_allclose(sheared, gathered, atol=TOLERANCE)


@pytest.mark.slow
def test_shears_equal_gathers_on_a_photo_of_full_size():
    photo, settings = jnp.asarray(photos.photo("china.jpg"))[None], turned(10.0)
    for side in (photo, photo[:, ::-1]):
        maps = maps_of(settings, 224, 200, 1)
        gathered = by_gathers(side, maps, 200)
        sheared = shears.by_shears(side, maps, 200, geometry.limits(settings))
        np.testing.assert_allclose(sheared, gathered, atol=3e-5)


@pytest.mark.slow
def test_products_equal_gathers_on_a_photo_of_full_size():
    photo = jnp.asarray(photos.photo("china.jpg"))[None]
    settings = dataclasses.replace(PRESETS["fastai2"], perspective_probability=1.0)
    maps = maps_of(settings, 224, 200, 1)
    gathered = by_gathers(photo, maps, 200)
    products = by_products(photo, maps, 200, geometry.limits(settings))
    np.testing.assert_allclose(products, gathered, atol=3e-5)  # coordinates are larger, so is eps


def test_each_platform_has_its_lowering(noise):
    def lowered(name, settings):
        with platform.targeting(name, name):
            function = partial(warp.warp, image_size=SIZE, limits=geometry.limits(settings))
            return str(jax.make_jaxpr(function)(noise, maps_of(settings)))

    side_on, imagenet = PRESETS["side_on"], PRESETS["imagenet"]
    for name in ("cpu", "gpu"):
        assert "gather[" in lowered(name, side_on) and "dot_general" not in lowered(name, side_on)
    for settings in (side_on, imagenet):
        text = lowered("tpu", settings)
        assert "gather[" not in text and text.count("dot_general[") == 2
    assert "bf16" in lowered("tpu", side_on) and "bf16" not in lowered("tpu", imagenet)
    # Words of 32 bits are sheared; in perspective there are none.
    assert "i32[16,3," in lowered("tpu", side_on)
    assert "i32[16,3," not in lowered("tpu", PRESETS["fastai2"])


@pytest.mark.slow
def test_the_columns_of_a_flat_view_cross_its_middle_within_reach(noise):
    """The flattest that is cropped, turned furthest, at the very edge: its columns lean far out."""
    settings = turned(45.0, crop_min_area=0.3, crop_max_ratio=3.0)
    drawn = draws.draw(jax.random.split(jax.random.key(1), COUNT), settings)
    side = jnp.where(jnp.arange(COUNT) % 2 == 0, 0.5, -0.5)
    drawn = drawn._replace(
        radians=jnp.full(COUNT, np.radians(45.0)),
        zoom=jnp.ones(COUNT),
        crop_width=jnp.ones(COUNT),
        crop_height=jnp.full(COUNT, 1 / 3),
        offset_y=side,
    )
    maps, limits = geometry.affine(drawn, CANVAS, SIZE), geometry.limits(settings)
    sheared = shears.by_shears(noise, maps, SIZE, limits)
    np.testing.assert_allclose(sheared, by_gathers(noise, maps, SIZE), atol=TOLERANCE)


# Side_on as columns through rows, without shears (`by_products`), touches 77.
TOUCHED = {"side_on": 60, "imagenet": 5}


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs libtpu")
@pytest.mark.parametrize("preset", ["side_on", "imagenet"])
def test_compiles_for_tpu_without_a_matrix_of_ones_in_memory(preset):
    target = topology.slice_of("v5e:2x2")
    place = jax.sharding.SingleDeviceSharding(target.mesh.devices.flat[0])
    canvas = jax.ShapeDtypeStruct((8, 124, 124, 3), jnp.uint8, sharding=place)
    keys = jax.ShapeDtypeStruct((8, 2), jnp.uint32, sharding=place)

    def augmented(canvas, words):
        keys = jax.random.wrap_key_data(words)
        return augment(canvas, keys, PRESETS[preset], 112)

    with platform.targeting(*target.platform):
        compiled = jax.jit(augmented).lower(canvas, keys).compile()
    memory, text = compiled.memory_analysis(), compiled.as_text()
    assert memory and text
    # One of the matrices of zeros and ones alone has 8 x 142 x 142 x 112 numbers of 2 bytes.
    assert memory.temp_size_in_bytes < 8 * 142 * 142 * 112 * 2
    assert " gather(" not in text
    # Bytes that the operations touch, over those of the view: TOUCHED[preset] at most.
    assert touched(computations(text)) < TOUCHED[preset] * 8 * 112 * 112 * 3 * 4
