"""Augmentation against plain references, and its laws: keyed by example, nothing at strength 0."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec
from PIL import Image
from scipy import ndimage

from jaxft.augment import augmentation, draws, erasing, geometry, lighting
from jaxft.augment.augment import augment
from jaxft.augment.augmentation import Augmentation
from jaxft.augment.draws import Parameters
from jaxft.augment.gathers import by_gathers
from jaxft.augment.maps import positions
from jaxft.augment.presets import PRESETS
from jaxft.augment.view import evaluate_view, normalize

SIZE, CANVAS = 40, 44
# What three keys drew when rotation, zoom, flip, dihedral and lighting were all that there was.
FIRST_RELEASE: dict[str, list[float]] = {
    "radians": [-0.15917804837226868, 0.01456969603896141, -0.1720750331878662],
    "zoom": [1.0167741775512695, 1.0620194673538208, 1.0],
    "offset_x": [0.07542848587036133, -0.11983227729797363, 0.3922628164291382],
    "offset_y": [0.3673391342163086, -0.36019980907440186, -0.37088727951049805],
    "quarter_turns": [0, 1, 1],
    "flip": [1.0, -1.0, -1.0],
    "brightness": [0.04926861450076103, 0.04634774848818779, -0.00904691219329834],
    "contrast": [0.9642822742462158, 1.012696623802185, 1.0017472505569458],
}
warp = jax.jit(by_gathers, static_argnums=2)


@pytest.fixture(scope="module")
def canvas() -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (8, CANVAS, CANVAS, 3), np.uint8))


@pytest.fixture(scope="module")
def keys() -> jax.Array:
    return jax.random.split(jax.random.key(3), 8)


def plain(**changes) -> Parameters:
    """Parameters for one example that change nothing but what is named."""
    values = dict.fromkeys(Parameters._fields, 0.0) | {
        "zoom": 1.0,
        "flip": 1.0,
        "contrast": 1.0,
        "crop_width": 1.0,
        "crop_height": 1.0,
    }
    arrays = {name: jnp.asarray([value], jnp.float32) for name, value in (values | changes).items()}
    arrays["quarter_turns"] = arrays["quarter_turns"].astype(jnp.int32)
    return Parameters(**arrays)


def view(canvas, parameters: Parameters, size: int) -> np.ndarray:
    maps = geometry.affine(parameters, canvas.shape[1], size)
    seen: np.ndarray = np.asarray(warp(canvas, maps, size))[0]
    return seen


def test_zero_strength_is_the_evaluation_view(canvas, keys):
    none = jax.jit(partial(augment, settings=PRESETS["none"], image_size=SIZE))(canvas, keys)
    assert none.dtype == jnp.float32
    evaluation = jax.jit(partial(evaluate_view, image_size=SIZE))(canvas)
    np.testing.assert_array_equal(none, evaluation)


def test_a_view_as_large_as_its_canvas_is_the_canvas(canvas):
    np.testing.assert_allclose(evaluate_view(canvas, CANVAS) * 255, canvas, atol=1e-4)


@pytest.mark.slow
def test_evaluation_view_equals_scipy_and_pillow(canvas):
    scale = CANVAS / SIZE
    where = (np.arange(SIZE) + 0.5) * scale - 0.5
    grid = np.meshgrid(where, where, indexing="ij")
    got = np.asarray(evaluate_view(canvas, SIZE))[2]
    for channel in range(3):
        image = np.asarray(canvas[2, ..., channel], np.float64) / 255
        reference = ndimage.map_coordinates(image, grid, order=1, mode="reflect")
        np.testing.assert_allclose(got[..., channel], reference, atol=1e-5)
    y, x = np.mgrid[0:CANVAS, 0:CANVAS]
    smooth = np.stack([x * 5, y * 5, x + y], -1).astype(np.uint8)
    pillow = np.asarray(Image.fromarray(smooth).resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    inner = (slice(1, -1), slice(1, -1))  # Pillow's antialiasing has one-sided support at borders
    ours = np.asarray(evaluate_view(jnp.asarray(smooth)[None], SIZE))[0] * 255
    np.testing.assert_allclose(ours[inner], pillow[inner], atol=1.01)


@pytest.mark.slow
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
    brightness = np.array([0, 0.05, -0.05, 0.02], np.float32)
    contrast = np.array([1, 1.05, 1 / 1.05, 1], np.float32)
    got = np.asarray(
        lighting.light(jnp.asarray(image), jnp.asarray(brightness), jnp.asarray(contrast))
    )
    for i in range(4):
        mean = image[i].mean(dtype=np.float64)
        reference = np.clip((image[i] - mean) * contrast[i] + mean + brightness[i], 0, 1)
        np.testing.assert_allclose(got[i], reference, atol=1e-6)
    np.testing.assert_array_equal(got[0], image[0])


def test_logit_lighting_equals_the_formula_of_fastai_2():
    image = np.random.default_rng(0).random((3, 6, 6, 3)).astype(np.float32)
    image[:, 0, 0], image[:, 0, 1] = 0, 1
    added, factor = np.array([0, 0.4, -0.3], np.float32), np.array([1, 1.25, 0.8], np.float32)
    arrays = jnp.asarray(image), jnp.asarray(added), jnp.asarray(factor)
    got = np.asarray(lighting.light(*arrays, "logit"))
    inner = np.clip(image.astype(np.float64), 1e-7, 1 - 1e-7)
    logits = (np.log(inner / (1 - inner)) + added[:, None, None, None]) * factor[
        :, None, None, None
    ]
    np.testing.assert_allclose(got[1:], 1 / (1 + np.exp(-logits[1:])), atol=1e-5)
    np.testing.assert_array_equal(got[0], image[0])


@pytest.mark.parametrize(("tilt_x", "tilt_y"), [(0.2, 0.0), (0.0, -0.15), (0.12, 0.2)])
def test_perspective_equals_pillows_through_the_corners_of_fastai_2(tilt_x, tilt_y):
    """The homography solved from the four corners, as fastai 2 does, and Pillow's sampling."""
    side, x, y = 48, tilt_x, tilt_y
    plain_corners = np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)]) * side / 2
    moved = np.array([(-1 - y, -1 - x), (-1 + y, 1 + x), (1 + y, -1 + x), (1 - y, 1 - x)])
    equations, right = [], []
    for (u, v), (a, b) in zip(moved * side / 2, plain_corners, strict=True):
        equations += [[u, v, 1, 0, 0, 0, -a * u, -a * v], [0, 0, 0, u, v, 1, -b * u, -b * v]]
        right += [a, b]
    expected = np.append(np.linalg.solve(equations, right), 1).reshape(3, 3)
    maps = geometry.perspective(plain(perspective_x=x, perspective_y=y), side)
    np.testing.assert_allclose(maps[0], expected, atol=1e-5)
    rows, columns = np.mgrid[0:side, 0:side]
    smooth = np.stack([rows * 5, columns * 5, rows + columns], -1).astype(np.uint8)
    # Pillow's coordinates begin at the image's corner.
    shift = np.array([[1, 0, side / 2], [0, 1, side / 2], [0, 0, 1]])
    theirs = shift @ expected @ np.linalg.inv(shift)
    pillow = Image.fromarray(smooth).transform(
        (side, side),
        Image.Transform.PERSPECTIVE,
        tuple((theirs / theirs[2, 2]).ravel()[:8]),
        Image.Resampling.BILINEAR,
    )
    ours = np.asarray(warp(jnp.asarray(smooth)[None], maps, side))[0] * 255
    u, v = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5)
    where = theirs @ np.stack([u.ravel(), v.ravel(), np.ones(u.size)])
    where = (where[:2] / where[2]).reshape(2, side, side)
    inside = ((where > 1) & (where < side - 1)).all(0)  # Pillow fills what lies outside
    assert inside.mean() > 0.8
    np.testing.assert_allclose(ours[inside], np.asarray(pillow)[inside], atol=1.01)


def test_a_crop_is_stretched_to_the_view():
    """Half of the width, a quarter of the height, at the left and in the middle."""
    canvas = jnp.asarray(np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3), np.uint8))
    half = plain(crop_width=0.5, crop_height=0.25, offset_x=-0.5)
    got = view(canvas, half, 16)
    y = 16 + (np.arange(16) + 0.5) / 2 - 4 - 0.5
    grid = np.meshgrid(y, np.arange(16), indexing="ij")
    for channel in range(3):
        image = np.asarray(canvas[0, ..., channel], np.float64)
        reference = ndimage.map_coordinates(image, grid, order=1)
        np.testing.assert_allclose(got[..., channel] * 255, reference, atol=1e-3)


def test_erasing_fills_a_rectangle_with_the_mean_colour():
    image = np.random.default_rng(0).random((1, 10, 20, 3)).astype(np.float32)[:, :, :10]
    got = erasing.erase(
        jnp.asarray(image),
        plain(erase_left=0.2, erase_top=0.5, erase_width=0.3, erase_height=0.25),
    )
    expected = image.copy()
    expected[0, 5:7, 2:5] = image[0].mean((0, 1))
    np.testing.assert_allclose(got, expected, atol=1e-6)
    np.testing.assert_array_equal(erasing.erase(jnp.asarray(image), plain()), image)


def test_draws_keep_to_their_ranges_and_shares():
    drawn = jax.jit(partial(draws.draw, settings=PRESETS["top_down"]))(
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


@pytest.mark.slow
def test_draws_of_today_are_those_of_the_first_release(keys):
    """Kinds of variation that came later have random numbers of their own."""
    settings = dataclasses.replace(
        PRESETS["top_down"], perspective=0.2, crop_min_area=0.08, erase_probability=0.5
    )
    drawn = draws.draw(keys, settings)
    for name, expected in FIRST_RELEASE.items():
        np.testing.assert_allclose(getattr(drawn, name)[:3], expected, rtol=1e-6, err_msg=name)


def drawn_by(preset: str, **changes) -> Parameters:
    """Each of 20,000 draws, in NumPy's float64."""
    settings = dataclasses.replace(PRESETS[preset], **changes)
    keys = jax.random.split(jax.random.key(0), 20_000)
    drawn = jax.jit(partial(draws.draw, settings=settings))(keys)
    arrays: Parameters = jax.tree.map(partial(np.asarray, dtype=np.float64), drawn)
    return arrays


def test_random_resized_crops_are_torchvisions():
    """Against its rejection of what does not fit, on the unit square, written out."""
    drawn = drawn_by("imagenet")
    random = np.random.default_rng(0)
    area = random.uniform(0.08, 1, (20_000, 10))
    ratio = np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3), area.shape))
    sides = np.stack([np.sqrt(area * ratio), np.sqrt(area / ratio)])
    fits = np.all(sides <= 1, axis=0)
    first = fits.argmax(1)
    expected = np.where(np.any(fits, axis=1), sides[:, np.arange(20_000), first], 1)
    for got, reference in zip((drawn.crop_width, drawn.crop_height), expected, strict=True):
        assert got.min() > 0 and got.max() <= 1
        shares = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
        np.testing.assert_allclose(
            np.quantile(got, shares), np.quantile(reference, shares), atol=0.015
        )
    assert (drawn.crop_width * drawn.crop_height).min() >= 0.08 - 1e-6
    assert np.abs(np.log(drawn.crop_width / drawn.crop_height)).max() <= np.log(4 / 3) + 1e-6


def test_draws_of_perspective_and_logit_lighting():
    drawn = drawn_by("fastai2")
    for tilt in (drawn.perspective_x, drawn.perspective_y):
        assert np.mean(tilt != 0) == pytest.approx(0.75, abs=0.02)
        assert tilt.min() == pytest.approx(-0.2, abs=1e-3)
        assert tilt.max() == pytest.approx(0.2, abs=1e-3)
    both = np.mean((drawn.perspective_x != 0) & (drawn.perspective_y != 0))
    assert both == pytest.approx(0.75**2, abs=0.02)
    change = 1 / (1 + np.exp(-drawn.brightness))  # fastai 2 draws this, from 0.4 to 0.6
    assert (change.min(), change.max()) == pytest.approx((0.4, 0.6), abs=1e-3)
    assert np.mean(change != 0.5) == pytest.approx(0.75, abs=0.02)
    varied = change[change != 0.5]
    assert np.quantile(varied, (0.25, 0.75)) == pytest.approx((0.45, 0.55), abs=0.003)
    logs = np.log(drawn.contrast[drawn.contrast != 1])
    assert (logs.min(), logs.max()) == pytest.approx((np.log(0.8), -np.log(0.8)), abs=1e-3)
    assert len(logs) / 20_000 == pytest.approx(0.75, abs=0.02)
    assert np.mean((drawn.contrast != 1) & (change != 0.5)) == pytest.approx(0.75**2, abs=0.02)


@pytest.mark.slow
def test_draws_of_erased_rectangles():
    drawn = drawn_by("none", erase_probability=0.4)
    erased = drawn.erase_width > 0
    assert erased.mean() == pytest.approx(0.4, abs=0.02)
    width, height = drawn.erase_width[erased], drawn.erase_height[erased]
    assert (width * height).min() == pytest.approx(0.02, abs=1e-3)
    assert (width * height).max() == pytest.approx(0.33, abs=5e-3)
    assert np.quantile(width / height, 0.5) == pytest.approx(1, abs=0.05)
    assert (width / height).max() == pytest.approx(3.3, abs=0.05)
    for first, extent in ((drawn.erase_left, width), (drawn.erase_top, height)):
        assert first[erased].min() >= 0 and (first[erased] + extent).max() <= 1 + 1e-6
        share_of_room = first[erased] / (1 - extent)
        assert np.quantile(share_of_room, (0.25, 0.75)) == pytest.approx((0.25, 0.75), abs=0.02)


@pytest.mark.slow
def test_draws_are_independent():
    drawn = drawn_by("fastai2", dihedral=True, crop_min_area=0.08, erase_probability=1.0)
    drawn = drawn._replace(  # within what the sizes leave
        erase_left=drawn.erase_left / (1 - drawn.erase_width),
        erase_top=drawn.erase_top / (1 - drawn.erase_height),
    )
    columns = {**drawn._asdict(), "rotated": drawn.radians != 0, "zoomed": drawn.zoom != 1}
    correlation = np.corrcoef(list(columns.values()))
    names = list(columns)
    related = [(names[i], names[j]) for i, j in np.argwhere(np.triu(np.abs(correlation) > 0.04, 1))]
    assert related == [  # of course
        ("zoom", "zoomed"),
        ("crop_width", "crop_height"),
        ("erase_width", "erase_height"),
    ]


def test_one_kind_of_variation_does_not_move_the_others(keys):
    everything = dataclasses.replace(PRESETS["fastai2"], crop_min_area=0.08, erase_probability=0.5)
    both = draws.draw(keys, everything)
    changes: dict[str, dict[str, Any]] = {
        "flip": {"flip": False},
        "radians": {"rotate_probability": 0.0},
        "perspective": {"perspective": 0.0},
        "crop": {"crop_min_area": 1.0},
        "erase": {"erase_probability": 0.0},
        "brightness": {"brightness": 0.0},
        "contrast": {"contrast": 0.0},
    }
    for moved, off in changes.items():
        without = draws.draw(keys, dataclasses.replace(everything, **off))
        for name in Parameters._fields:
            same = np.array_equal(getattr(both, name), getattr(without, name))
            assert same != name.startswith(moved), (name, off)


EVERYTHING = dataclasses.replace(
    PRESETS["fastai2"], dihedral=True, crop_min_area=0.3, erase_probability=0.5
)
SETTINGS = {**PRESETS, "everything": EVERYTHING}


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_pixels_belong_to_the_example(canvas, keys, settings):
    """Pixels do not depend on an example's batch or devices."""
    run = jax.jit(partial(augment, settings=settings, image_size=SIZE))
    whole = np.asarray(run(canvas, keys))
    assert whole.min() >= 0 and whole.max() <= 1 and whole.shape == (8, SIZE, SIZE, 3)
    parts = [np.asarray(run(canvas[i : i + 2], keys[i : i + 2])) for i in range(0, 8, 2)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    mesh = jax.make_mesh((4,), ("data",), (AxisType.Auto,), devices=jax.devices()[:4])
    spec = PartitionSpec("data")
    shared = jax.jit(jax.shard_map(run, mesh=mesh, in_specs=(spec, spec), out_specs=spec))
    np.testing.assert_array_equal(shared(canvas, keys), whole)


def test_other_keys_give_other_pixels(canvas, keys):
    run = jax.jit(partial(augment, settings=PRESETS["side_on"], image_size=SIZE))
    first, second = run(canvas, keys), run(canvas, jax.random.split(jax.random.key(4), 8))
    assert (np.abs(np.asarray(first - second)).mean((1, 2, 3)) > 1e-3).all()


def test_float32_even_with_64_bit_parameters(canvas, keys):
    run = jax.jit(partial(augment, settings=Augmentation(), image_size=SIZE))
    expected = np.asarray(run(canvas, keys))
    with jax.enable_x64(True):
        got = run(canvas, keys)
        assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_normalize():
    image = jnp.asarray(np.random.default_rng(0).random((2, 4, 4, 3)), jnp.float32)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = (np.asarray(image) - np.asarray(mean)) / np.asarray(std)
    np.testing.assert_allclose(normalize(image, mean, std), expected, atol=1e-6)


def test_in_words_says_what_is_done_and_nothing_else():
    assert augmentation.in_words(PRESETS["none"]) == "augmentation (none): none"
    said = augmentation.in_words(dataclasses.replace(PRESETS["imagenet"], mixup_alpha=0.2))
    assert said == (
        "augmentation (imagenet): crop_min_area=0.08, crop_max_ratio=1.33, flip=true, "
        "mixup_alpha=0.2, mix_probability=1"
    )
    wide = dataclasses.replace(PRESETS["none"], policy="trivialaugment")
    assert augmentation.in_words(wide) == "augmentation (none): policy=trivialaugment"
    said = augmentation.in_words(dataclasses.replace(wide, policy="randaugment"))
    assert said == ("augmentation (none): policy=randaugment, policy_ops=2, policy_magnitude=9")


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_maps_keep_to_their_limits(settings):
    limits = geometry.limits(settings)
    drawn = draws.draw(jax.random.split(jax.random.key(0), 500), settings)
    maps = geometry.affine(drawn, CANVAS, SIZE)
    if settings.perspective:
        maps = geometry.perspective(drawn, CANVAS) @ geometry.as_homographies(maps)
    x, y = (np.asarray(where) for where in positions(maps, CANVAS, SIZE))
    # The border is half a pixel beyond the outermost centres.
    reach = max(-x.min(), -y.min(), x.max() - CANVAS + 1, y.max() - CANVAS + 1) - 0.5
    reach /= CANVAS
    assert reach <= limits.reach + 1e-5
    along = np.stack([np.diff(x, axis=1), np.diff(y, axis=1)])
    middle = np.abs(along[:, :, SIZE // 2, SIZE // 2])
    swapped = (middle[0] > middle[1])[:, None, None]
    slope = np.where(swapped, along[1], along[0]) / np.where(swapped, along[0], along[1])
    assert np.abs(slope).max() <= limits.slope + 2e-3
    assert limits.upright == (np.abs(along[0]).max() < 1e-5)
