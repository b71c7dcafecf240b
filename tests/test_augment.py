"""Augmentation against plain references, and its laws: keyed by example, nothing at strength 0."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec
from PIL import Image
from scipy import ndimage

from jaxft.data import augment as aug

SIZE, CANVAS = 40, 44
warp = jax.jit(aug.warp, static_argnums=2)


@pytest.fixture(scope="module")
def canvas() -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (8, CANVAS, CANVAS, 3), np.uint8))


@pytest.fixture(scope="module")
def keys() -> jax.Array:
    return jax.random.split(jax.random.key(3), 8)


def plain(**changes) -> aug.Parameters:
    """Parameters for one example that change nothing but what is named."""
    values = dict.fromkeys(aug.Parameters._fields, 0.0) | {
        "zoom": 1.0,
        "flip": 1.0,
        "contrast": 1.0,
    }
    arrays = {name: jnp.asarray([value], jnp.float32) for name, value in (values | changes).items()}
    arrays["quarter_turns"] = arrays["quarter_turns"].astype(jnp.int32)
    return aug.Parameters(**arrays)


def view(canvas, parameters: aug.Parameters, size: int) -> np.ndarray:
    maps = aug.affine(parameters, canvas.shape[1], size)
    return np.asarray(warp(canvas, maps, size))[0]


def test_zero_strength_is_the_evaluation_view(canvas, keys):
    none = jax.jit(partial(aug.augment, settings=aug.PRESETS["none"], image_size=SIZE))(
        canvas, keys
    )
    assert none.dtype == jnp.float32
    evaluation = jax.jit(partial(aug.evaluate_view, image_size=SIZE))(canvas)
    np.testing.assert_array_equal(none, evaluation)


def test_a_view_as_large_as_its_canvas_is_the_canvas(canvas):
    np.testing.assert_allclose(aug.evaluate_view(canvas, CANVAS) * 255, canvas, atol=1e-4)


def test_evaluation_view_equals_scipy_and_pillow(canvas):
    scale = CANVAS / SIZE
    where = (np.arange(SIZE) + 0.5) * scale - 0.5
    grid = np.meshgrid(where, where, indexing="ij")
    got = np.asarray(aug.evaluate_view(canvas, SIZE))[2]
    for channel in range(3):
        image = np.asarray(canvas[2, ..., channel], np.float64) / 255
        reference = ndimage.map_coordinates(image, grid, order=1, mode="reflect")
        np.testing.assert_allclose(got[..., channel], reference, atol=1e-5)
    y, x = np.mgrid[0:CANVAS, 0:CANVAS]
    smooth = np.stack([x * 5, y * 5, x + y], -1).astype(np.uint8)
    pillow = np.asarray(Image.fromarray(smooth).resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    inner = (slice(1, -1), slice(1, -1))  # Pillow's antialiasing has one-sided support at borders
    ours = np.asarray(aug.evaluate_view(jnp.asarray(smooth)[None], SIZE))[0] * 255
    np.testing.assert_allclose(ours[inner], pillow[inner], atol=1.01)


@pytest.mark.parametrize("degrees", [-10, 7, 45, 170])
def test_rotation_reflects_at_the_borders_as_scipy(canvas, degrees):
    got = view(canvas[:1], plain(radians=np.deg2rad(degrees)), CANVAS)
    for channel in range(3):
        image = np.asarray(canvas[0, ..., channel], np.float64) / 255
        reference = ndimage.rotate(image, degrees, reshape=False, order=1, mode="reflect")
        np.testing.assert_allclose(got[..., channel], reference, atol=2e-4)


def test_zoom_and_crop_equal_a_plain_crop():
    """At zoom 2 the view is one half of the canvas, here taken at its upper right corner."""
    canvas = jnp.asarray(np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3), np.uint8))
    got = view(canvas, plain(zoom=2.0, offset_x=0.5, offset_y=-0.5), 16)
    np.testing.assert_allclose(got * 255, canvas[0, :16, 16:], atol=1e-4)


def test_rotation_is_about_the_image_and_comes_before_the_crop(canvas):
    turned = view(canvas[:1], plain(radians=0.2), CANVAS)
    both = view(canvas[:1], plain(radians=0.2, zoom=2.0, offset_x=-0.5, offset_y=0.5), CANVAS // 2)
    half = CANVAS // 2
    np.testing.assert_allclose(both, turned[half:, :half], atol=1e-4)


def test_flip_and_the_eight_symmetries(canvas):
    image = np.asarray(canvas[0])
    for turns in range(4):
        for flip in (1.0, -1.0):
            got = view(canvas[:1], plain(quarter_turns=turns, flip=flip), CANVAS)
            reference = np.rot90(image, turns)
            reference = reference[:, ::-1] if flip < 0 else reference
            np.testing.assert_allclose(got * 255, reference, atol=1e-4)


def test_lighting_equals_the_formula_of_fastai(canvas):
    image = np.asarray(canvas[:4], np.float32) / 255
    brightness, contrast = np.float32([0, 0.05, -0.05, 0.02]), np.float32([1, 1.05, 1 / 1.05, 1])
    got = np.asarray(aug.light(jnp.asarray(image), jnp.asarray(brightness), jnp.asarray(contrast)))
    for i in range(4):
        mean = image[i].mean(dtype=np.float64)
        reference = np.clip((image[i] - mean) * contrast[i] + mean + brightness[i], 0, 1)
        np.testing.assert_allclose(got[i], reference, atol=1e-6)
    np.testing.assert_array_equal(got[0], image[0])


def test_draws_keep_to_their_ranges_and_shares():
    drawn = jax.jit(partial(aug.draw, settings=aug.PRESETS["top_down"]))(
        jax.random.split(jax.random.key(0), 20_000)
    )
    limit = np.deg2rad(10)
    assert np.abs(drawn.radians).max() <= limit and np.abs(drawn.radians).max() > 0.99 * limit
    assert np.mean(np.asarray(drawn.radians) != 0) == pytest.approx(0.75, abs=0.02)
    assert np.mean(np.asarray(drawn.zoom) != 1) == pytest.approx(0.75, abs=0.02)
    assert drawn.zoom.min() >= 1 and 1.099 < drawn.zoom.max() <= 1.1
    assert np.mean(np.asarray(drawn.flip) < 0) == pytest.approx(0.5, abs=0.02)
    assert np.bincount(drawn.quarter_turns).tolist() == pytest.approx([5000] * 4, rel=0.06)
    assert 0.0495 < np.abs(drawn.brightness).max() <= 0.05
    assert drawn.contrast.min() == pytest.approx(1 / 1.05, abs=1e-3)
    assert drawn.contrast.max() == pytest.approx(1.05, abs=1e-3)


def test_draws_are_independent():
    drawn = aug.draw(jax.random.split(jax.random.key(0), 20_000), aug.PRESETS["top_down"])
    rotated, zoomed = drawn.radians != 0, drawn.zoom != 1
    columns = [np.asarray(column, np.float64) for column in (*drawn, rotated, zoomed)]
    correlation = np.corrcoef(columns)
    related = np.argwhere(np.triu(np.abs(correlation) > 0.04, 1)).tolist()
    assert related == [[1, 9]]  # of course: zoom, and whether there is any


def test_one_kind_of_variation_does_not_move_the_others(keys):
    both = aug.draw(keys, aug.Augmentation())
    without = aug.draw(keys, aug.Augmentation(flip=False))
    assert (without.flip == 1).all() and (both.flip != 1).any()
    for name in set(aug.Parameters._fields) - {"flip"}:
        np.testing.assert_array_equal(getattr(both, name), getattr(without, name))


@pytest.mark.parametrize("preset", sorted(aug.PRESETS))
def test_pixels_belong_to_the_example(canvas, keys, preset):
    """Whatever the batch and the devices that an example is in."""
    run = jax.jit(partial(aug.augment, settings=aug.PRESETS[preset], image_size=SIZE))
    whole = np.asarray(run(canvas, keys))
    assert whole.min() >= 0 and whole.max() <= 1 and whole.shape == (8, SIZE, SIZE, 3)
    parts = [np.asarray(run(canvas[i : i + 2], keys[i : i + 2])) for i in range(0, 8, 2)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    mesh = jax.make_mesh((4,), ("data",), (AxisType.Auto,), devices=jax.devices()[:4])
    spec = PartitionSpec("data")
    shared = jax.jit(jax.shard_map(run, mesh=mesh, in_specs=(spec, spec), out_specs=spec))
    np.testing.assert_array_equal(shared(canvas, keys), whole)


def test_other_keys_give_other_pixels(canvas, keys):
    run = jax.jit(partial(aug.augment, settings=aug.PRESETS["side_on"], image_size=SIZE))
    first, second = run(canvas, keys), run(canvas, jax.random.split(jax.random.key(4), 8))
    assert (np.abs(np.asarray(first - second)).mean((1, 2, 3)) > 1e-3).all()


def test_float32_even_with_64_bit_parameters(canvas, keys):
    run = jax.jit(partial(aug.augment, settings=aug.Augmentation(), image_size=SIZE))
    expected = np.asarray(run(canvas, keys))
    with jax.enable_x64(True):
        got = run(canvas, keys)
        assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_normalize():
    image = jnp.asarray(np.random.default_rng(0).random((2, 4, 4, 3)), jnp.float32)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = (np.asarray(image) - np.asarray(mean)) / np.asarray(std)
    np.testing.assert_allclose(aug.normalize(image, mean, std), expected, atol=1e-6)
