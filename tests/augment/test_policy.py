"""RandAugment and TrivialAugment: their tables, draws, geometry and bounds."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxft.augment import draws, policy
from jaxft.augment.augment import augment
from jaxft.augment.augmentation import MOST_POLICY, Augmentation
from jaxft.augment.gathers import by_gathers
from jaxft.augment.geometry import affine
from jaxft.augment.policy import Chosen, Operation
from jaxft.augment.policy_maps import policy_limits, with_policy
from jaxft.augment.presets import PRESETS, beneath_policy
from jaxft.augment.shears import by_shears

SIZE, CANVAS = 40, 44
warp = jax.jit(by_gathers, static_argnums=2)
NONE = PRESETS["none"]
SETTINGS = {
    "randaugment": dataclasses.replace(NONE, policy="randaugment"),
    "trivialaugment": dataclasses.replace(NONE, policy="trivialaugment"),
    "strong": dataclasses.replace(
        PRESETS["imagenet"], policy="randaugment", policy_magnitude=30, dihedral=True
    ),
    "many": dataclasses.replace(
        beneath_policy(PRESETS["side_on"]),
        policy="randaugment",
        policy_ops=3,
        policy_magnitude=20,
        erase_probability=0.5,
    ),
    "wide": dataclasses.replace(PRESETS["imagenet"], policy="trivialaugment"),
}


def torchvisions(wide: bool) -> dict[str, np.ndarray]:
    """Tables of RandAugment and TrivialAugmentWide for images of 224 pixels."""
    most = np.linspace(0, 0.99 if wide else 0.3, 31)
    blend = np.linspace(0, 0.99 if wide else 0.9, 31)
    shift = np.linspace(0, 32.0 if wide else 150.0 / 331.0 * 224, 31)
    bits = 8 - np.round(np.arange(31) / (30 / (6 if wide else 4)))
    return {
        "IDENTITY": np.zeros(31),
        "SHEAR_X": most,
        "SHEAR_Y": most,
        "TRANSLATE_X": shift,
        "TRANSLATE_Y": shift,
        "ROTATE": np.linspace(0, 135.0 if wide else 30.0, 31),
        "BRIGHTNESS": blend,
        "COLOR": blend,
        "CONTRAST": blend,
        "SHARPNESS": blend,
        "POSTERIZE": bits,
        "SOLARIZE": np.linspace(255, 0, 31),
        "AUTOCONTRAST": np.zeros(31),
        "EQUALIZE": np.zeros(31),
    }


@pytest.mark.parametrize("name", ["randaugment", "trivialaugment"])
def test_magnitudes_are_torchvisions(name):
    got = policy.table(SETTINGS[name])
    for row, (operation, expected) in enumerate(torchvisions(name == "trivialaugment").items()):
        pixels = 224 if operation.startswith("TRANSLATE") else 1
        assert Operation(row).name == operation
        np.testing.assert_allclose(got[row] * pixels, expected, atol=1e-12, err_msg=operation)


def drawn_by(name: str, count: int = 40_000) -> Chosen:
    keys = jax.random.split(jax.random.key(0), count)
    drawn: Chosen = jax.jit(partial(policy.draw, settings=SETTINGS[name]))(keys)
    return drawn


def test_randaugment_draws_each_operation_equally_often_at_one_magnitude():
    drawn = drawn_by("randaugment")
    operation, magnitude = np.asarray(drawn.operation), np.asarray(drawn.magnitude)
    table = torchvisions(wide=False)
    assert operation.shape == (2, 40_000)
    pairs = np.histogram2d(operation[0], operation[1], bins=14)[0]
    assert pairs / 40_000 == pytest.approx(np.full((14, 14), 1 / 14**2), rel=0.35)
    for name in Operation:
        of = magnitude[operation == name]
        assert len(of) / 80_000 == pytest.approx(1 / 14, rel=0.05)
        expected = table[name.name][9] / (224 if name.name.startswith("TRANSLATE") else 1)
        np.testing.assert_allclose(np.abs(of), expected, rtol=1e-6)
        either_way = 1 <= name <= Operation.SHARPNESS
        assert np.mean(of < 0) == pytest.approx(0.5 if either_way else 0, abs=0.03), name


def test_trivialaugment_draws_one_operation_of_any_magnitude():
    drawn = drawn_by("trivialaugment")
    operation, magnitude = np.asarray(drawn.operation)[0], np.asarray(drawn.magnitude)[0]
    assert drawn.operation.shape == (1, 40_000)
    assert np.bincount(operation) / 40_000 == pytest.approx(np.full(14, 1 / 14), rel=0.08)
    levels, counts = np.unique(magnitude[operation == Operation.SOLARIZE], return_counts=True)
    np.testing.assert_allclose(levels, np.linspace(0, 255, 31), rtol=1e-6)
    assert counts / counts.sum() == pytest.approx(np.full(31, 1 / 31), rel=0.5)
    turns = magnitude[operation == Operation.ROTATE]
    assert (turns.min(), turns.max()) == pytest.approx((-135, 135))
    assert np.quantile(np.abs(turns), (0.25, 0.5, 0.75)) == pytest.approx((33, 67, 101), abs=6)


def smooth(side: int) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    return np.stack([x * 4, y * 4, x + 2 * y], -1).astype(np.uint8)


# Pillow's six numbers, as torchvision's PIL kernels have them, for images of 48 pixels.
MOVES = {
    Operation.SHEAR_X: (0.2, (1, 0.2, 0, 0, 1, 0)),
    Operation.SHEAR_Y: (-0.3, (1, 0, 0, -0.3, 1, 0)),
    Operation.TRANSLATE_X: (0.25, (1, 0, 12, 0, 1, 0)),
    Operation.TRANSLATE_Y: (-0.25, (1, 0, 0, 0, 1, -12)),
}


def moved(image: np.ndarray, *operations: tuple[Operation, float]) -> np.ndarray:
    """The view of one canvas of its own size, as operations move it."""
    chosen = Chosen(
        jnp.asarray([[int(name)] for name, _ in operations]),
        jnp.asarray([[by] for _, by in operations], jnp.float32),
    )
    plain = jnp.asarray([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    maps = with_policy(plain, chosen, len(image))
    view: np.ndarray = np.asarray(warp(jnp.asarray(image)[None], maps, len(image)))[0]
    return view * 255


def uncovered(image: Image.Image, move) -> np.ndarray:
    """Pixels that Pillow fills, and those that it blends with the fill."""
    white = Image.new("L", image.size, 255)
    return np.asarray(move(white)) < 255


@pytest.mark.parametrize("name", MOVES)
def test_shears_and_translations_are_pillows(name):
    by, numbers = MOVES[name]
    image = Image.fromarray(smooth(48))

    def move(image):
        return image.transform(
            image.size, Image.Transform.AFFINE, numbers, Image.Resampling.BILINEAR
        )

    inside = ~uncovered(image, move)
    assert 0.6 < inside.mean() < 1
    got = moved(np.asarray(image), (name, by))
    np.testing.assert_allclose(got[inside], np.asarray(move(image))[inside], atol=1.01)


def test_rotation_and_the_order_of_operations_are_pillows():
    """Turned, then moved: the other order leaves the image elsewhere."""
    image = Image.fromarray(smooth(48))

    def move(image):
        turned = image.rotate(20, Image.Resampling.BILINEAR)
        return turned.transform(
            image.size, Image.Transform.AFFINE, (1, 0, 12, 0, 1, 0), Image.Resampling.BILINEAR
        )

    inside = ~uncovered(image, move)
    assert 0.5 < inside.mean() < 1
    got = moved(np.asarray(image), (Operation.ROTATE, 20.0), (Operation.TRANSLATE_X, 0.25))
    np.testing.assert_allclose(got[inside], np.asarray(move(image))[inside], atol=2.01)
    other = moved(np.asarray(image), (Operation.TRANSLATE_X, 0.25), (Operation.ROTATE, 20.0))
    assert np.abs(other - np.asarray(move(image)))[inside].max() > 10


@pytest.fixture(scope="module")
def canvas() -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (64, CANVAS, CANVAS, 3), np.uint8))


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_what_is_lowered_for_tpu_keeps_to_the_bounds(canvas, name):
    """Shears select pixels within the bounds; a map beyond them would show zeros.

    Each operation is as strong as it can be.
    """
    settings = SETTINGS[name]
    keys = jax.random.split(jax.random.key(1), len(canvas))
    maps = affine(draws.draw(keys, settings), CANVAS, SIZE)
    drawn = policy.draw(keys, settings)
    most = policy.table(settings)[:, policy.bins(settings)[-1]][drawn.operation]
    strongest = jnp.where(drawn.magnitude < 0, -most, most)
    maps = with_policy(maps, drawn._replace(magnitude=strongest), SIZE)
    sheared = jax.jit(by_shears, static_argnums=(2, 3))(canvas, maps, SIZE, policy_limits(settings))
    gathered = warp(canvas, maps, SIZE)
    np.testing.assert_allclose(sheared, gathered, atol=1e-5)


@pytest.mark.parametrize("count", range(1, MOST_POLICY[0] + 1))
def test_the_strongest_that_is_allowed_shows_no_place_a_side_outside(count):
    most = min(30, MOST_POLICY[1] // count)
    strongest = dataclasses.replace(
        PRESETS["imagenet"], policy="randaugment", policy_ops=count, policy_magnitude=most
    )
    assert [*strongest.problems()] == []
    assert 0.4 < policy_limits(strongest).reach < 1


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_pixels_belong_to_the_example(canvas, name):
    """Pixels do not depend on an example's batch or devices."""
    canvas, keys = canvas[:16], jax.random.split(jax.random.key(3), 16)
    run = jax.jit(partial(augment, settings=SETTINGS[name], image_size=SIZE))
    whole = np.asarray(run(canvas, keys))
    assert whole.min() >= 0 and whole.max() <= 1 and whole.shape == (16, SIZE, SIZE, 3)
    parts = [np.asarray(run(canvas[i : i + 2], keys[i : i + 2])) for i in range(0, 16, 2)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    mesh = jax.make_mesh((8,), ("data",), (jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("data")
    shared = jax.jit(jax.shard_map(run, mesh=mesh, in_specs=(spec, spec), out_specs=spec))
    np.testing.assert_array_equal(shared(canvas, keys), whole)


@pytest.mark.slow
def test_a_policy_draws_numbers_of_its_own(canvas):
    """Crop, flip and erasing stay where they were: magnitude 0 of geometry changes nothing."""
    canvas, keys = canvas[:16], jax.random.split(jax.random.key(3), 16)
    base = dataclasses.replace(PRESETS["imagenet"], erase_probability=0.5)
    weak = dataclasses.replace(base, policy="randaugment", policy_ops=1, policy_magnitude=0)
    plain = np.asarray(augment(canvas, keys, base, SIZE))
    got = np.asarray(augment(canvas, keys, weak, SIZE))
    chosen = np.asarray(policy.draw(keys, weak).operation)[0]
    same = chosen <= Operation.SHARPNESS
    assert 0 < same.sum() < 16
    np.testing.assert_allclose(got[same], plain[same], atol=1e-5)


def test_senseless_policies_are_told():
    wrong = Augmentation(policy="randaugment", policy_ops=5, policy_magnitude=31, perspective=0.1)
    told = [*wrong.problems()]
    assert [problem.split()[0] for problem in told] == [
        "augment.policy_ops",
        "augment.policy_magnitude",
        "augment:",
        "augment.rotate_degrees",
        "augment.perspective",
    ]
