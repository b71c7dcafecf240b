"""Every lowering means what lax.conv_general_dilated means, forward and backward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, PartitionSpec

from jaxft.devices import platform
from jaxft.models.bodies.resnet import architecture as resnet
from jaxft.models.conv.convolution import conv
from jaxft.models.conv.lowerings import LOWERINGS, choose, is_lowering
from jaxft.models.conv.padding import without_idle_places

pytestmark = pytest.mark.one_device

CASES = [
    # size, stride, padding, groups, height, width[, input channels: 8]
    (3, 1, "SAME", 8, 7, 6),
    (3, 2, "SAME", 8, 7, 6),
    (5, 1, "SAME", 8, 8, 5),
    (5, 2, "SAME", 8, 8, 5),
    (5, 2, "SAME", 8, 3, 2),
    (3, 1, "VALID", 8, 7, 6),
    (3, 1, ((1, 1), (1, 1)), 8, 6, 7),
    (3, 2, ((1, 1), (1, 1)), 8, 6, 7),
    (5, 2, ((2, 2), (0, 1)), 8, 9, 8),
    (3, 3, ((1, 1), (1, 1)), 8, 8, 9),
    (1, 1, "SAME", 1, 5, 4),
    (1, 2, "SAME", 1, 5, 4),
    (1, 2, ((0, 0), (0, 0)), 1, 6, 5),
    (1, 1, ((1, 0), (0, 2)), 1, 4, 4),
    (1, 1, "SAME", 8, 4, 4),
    (3, 2, "SAME", 1, 7, 6),
    (3, 1, "SAME", 2, 5, 6),
    (7, 2, ((3, 3), (3, 3)), 1, 9, 8),
    (3, 2, "SAME", 1, 8, 7, 3),
    (7, 2, ((3, 3), (3, 3)), 1, 9, 8, 3),
    (3, 1, "VALID", 1, 5, 6, 1),
    (5, 1, "SAME", 8, 2, 2),
    (5, 1, "SAME", 2, 1, 3),
    (7, 2, ((3, 3), (3, 3)), 1, 1, 2, 3),
    (5, 3, ((4, 1), (1, 4)), 8, 2, 3),
    (1, 2, ((1, 0), (0, 1)), 8, 1, 2),
    (3, 1, "SAME", 1, 2, 2),
    (3, 2, ((1, 1), (1, 1)), 1, 4, 3),
    (5, 1, ((2, 2), (2, 2)), 1, 4, 6),
    (3, 1, "VALID", 1, 4, 9),
]


def reference(x, kernel, stride, padding, groups):
    """The meaning: XLA's own convolution."""
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )  # fmt: skip


def gradients(function, x, kernel, *how):
    """Output, and the gradients of a scalar that weighs every output differently."""

    def scalar(x, kernel):
        y = function(x, kernel, *how)
        return jnp.sum(jnp.sin(y + jnp.arange(y.size).reshape(y.shape))), y

    (_, y), grads = jax.value_and_grad(scalar, (0, 1), has_aux=True)(x, kernel)
    return y, *grads


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_lax_forward_and_backward(case):
    size, stride, padding, groups, height, width, channels = (*case, 8)[:7]
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(3, height, width, channels)))
    kernel = jnp.asarray(rng.normal(size=(size, size, channels // groups, 8)))
    how = (stride, padding, groups)
    got = jax.jit(lambda x, k: gradients(conv, x, k, *how))(x, kernel)
    want = jax.jit(lambda x, k: gradients(reference, x, k, *how))(x, kernel)
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size,length,pads,kept", [
    (5, 2, (2, 2), (1, 4)), (5, 4, (2, 2), (0, 5)), (7, 1, (3, 3), (3, 4)), (5, 2, (0, 3), (0, 2)),
])  # fmt: skip
def test_places_that_meet_padding_alone_are_left_out(size, length, pads, kept):
    kernel = jnp.arange(size * size * 2.0).reshape(size, size, 1, 2)
    part, rest = without_idle_places(kernel, (length, length), 1, (pads, pads))
    start, end = kept
    np.testing.assert_array_equal(part, kernel[start:end, start:end])
    assert rest == ((pads[0] - start, pads[1] - size + end),) * 2


@pytest.mark.cpu_program
@pytest.mark.slow
@pytest.mark.parametrize("size,stride,padding", [
    (3, 1, ((1, 1), (1, 1))), (3, 2, ((1, 1), (1, 1))), (5, 1, "VALID"), (3, 1, ((0, 2), (1, 0))),
    (7, 1, ((2, 2), (3, 3))), (7, 1, ((7, 0), (7, 1))),  # larger than what comes out
])  # fmt: skip
@pytest.mark.parametrize("inside,groups", [(4, 16), (8, 8), (16, 4), (32, 2), (64, 2), (4, 3)])
def test_a_grouped_convolution_on_cpu_equals_lax(inside, groups, size, stride, padding):
    channels = inside * groups
    way, _ = choose((3, 3, inside, channels), groups)
    divides = "shifts" if inside <= 4 else "blocks"
    assert way == (divides if channels % 32 == 0 else "native")
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 7, 6, channels)))
    kernel = jnp.asarray(rng.normal(size=(size, size, inside, channels)))
    how = (stride, padding, groups)
    got = jax.jit(lambda x, k: gradients(conv, x, k, *how))(x, kernel)
    want = jax.jit(lambda x, k: gradients(reference, x, k, *how))(x, kernel)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.several_devices
@pytest.mark.slow
@pytest.mark.parametrize("size,groups,channels,stride", [
    (5, 8, 8, 2), (1, 1, 8, 2), (3, 8, 64, 1), (3, 8, 64, 2),
])  # fmt: skip
@pytest.mark.parametrize("mark", [True, False], ids=["varying kernel", "unvarying kernel"])
def test_gradients_agree_on_one_and_four_devices(size, groups, channels, stride, mark):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(8, 6, 5, channels)))
    kernel = jnp.asarray(rng.normal(size=(size, size, channels // groups, channels)))

    def gradient(devices):
        mesh = jax.make_mesh(
            (devices,), ("data",), devices=jax.devices()[:devices], axis_types=(AxisType.Auto,)
        )

        def local(kernel, x):
            marked = lax.pcast(kernel, "data", to="varying") if mark else kernel
            loss = lambda k: jnp.sum(jnp.sin(conv(x, k, stride, "SAME", groups)))  # noqa: E731
            grad = jax.grad(loss)(marked)
            return lax.psum(grad, "data") if mark else grad

        specs = (PartitionSpec(), PartitionSpec("data"))
        return jax.jit(jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=specs[0]))(
            kernel, x
        )

    np.testing.assert_allclose(gradient(4), gradient(1), rtol=1e-10, atol=1e-10)


@pytest.mark.cpu_program
@pytest.mark.parametrize("image,stride,groups,native", [
    (2, 1, 1, False), (4, 2, 1, False), (3, 2, 1, False), (2, 1, 8, False),
    (3, 1, 1, True), (5, 2, 1, True), (3, 1, 8, True),
])  # fmt: skip
def test_an_outsized_kernel_is_not_convolved_by_xla(image, stride, groups, native):
    x, kernel = jnp.zeros((2, image, image, 64)), jnp.zeros((3, 3, 64 // groups, 64))
    how = (stride, ((1, 1), (1, 1)), groups)
    jaxpr = jax.make_jaxpr(lambda x, k: gradients(conv, x, k, *how))(x, kernel)
    assert ("conv_general_dilated" in str(jaxpr)) == native


def test_an_empty_batch_stays_one():
    assert conv(jnp.zeros((0, 2, 2, 8)), jnp.zeros((5, 5, 8, 4))).shape == (0, 2, 2, 4)


def test_other_platforms_get_the_native_convolution():
    with platform.targeting("tpu", "v5e"):
        jaxpr = str(jax.make_jaxpr(conv)(jnp.zeros((2, 5, 5, 4)), jnp.zeros((1, 1, 4, 4))))
    assert "conv_general_dilated" in jaxpr


@pytest.mark.slow
@pytest.mark.parametrize("chip,channels,width,groups", [
    ("v5e", 256, 256, 1), ("v5e", 512, 128, 4), ("v6e", 512, 256, 2), ("v4", 512, 128, 4),
])  # fmt: skip
@pytest.mark.parametrize("stride", [1, 2])
def test_packed_for_a_tpu_it_is_the_same_convolution(chip, channels, width, groups, stride):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 7, 6, channels)))
    kernel = jnp.asarray(rng.normal(size=(3, 3, channels // 64, channels)))

    def value_and_gradients(x, kernel):
        loss = lambda x, k: jnp.sum(jnp.sin(conv(x, k, stride, "SAME", 64)))  # noqa: E731
        return jax.value_and_grad(loss, (0, 1))(x, kernel)

    with platform.targeting("none", ""):
        native = value_and_gradients(x, kernel)
    with platform.targeting("tpu", chip):
        jaxpr = str(jax.make_jaxpr(lambda x, k: conv(x, k, stride, "SAME", 64))(x, kernel))
        packed = value_and_gradients(x, kernel)
    assert f"feature_group_count={groups}" in jaxpr and f"[3,3,{width},{channels}]" in jaxpr
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), packed, native
    )


WORDS = ("native", "packed:8", "packed:128", "blocks:16", "blocks:32", "dense", "shifts")


def test_every_lowering_is_tried_below():
    assert {word.partition(":")[0] for word in LOWERINGS} == {
        "auto",
        *(word.partition(":")[0] for word in WORDS),
    }


# Groups as wide as any in the family, so many that 256 channels have them, and a depthwise kernel.
WIDTHS = sorted({a.group_width * w // 64 for a in resnet.ARCHITECTURES.values() if a.groups > 1
                 for w in resnet.WIDTHS})  # fmt: skip
KERNELS = [*((inside, 256 // inside) for inside in WIDTHS), (1, 32)]


@pytest.mark.slow
@pytest.mark.parametrize("height,width,stride", [(7, 6, 1), (7, 6, 2), (8, 5, 2)])
@pytest.mark.parametrize("inside,groups", KERNELS)
def test_every_lowering_that_a_config_can_name_is_the_same_convolution(
    inside, groups, height, width, stride
):
    rng = np.random.default_rng(0)
    channels = inside * groups
    x = jnp.asarray(rng.normal(size=(2, height, width, channels)))
    kernel = jnp.asarray(rng.normal(size=(3, 3, inside, channels)))
    how = (stride, ((1, 1), (1, 1)), groups)
    want = jax.jit(lambda x, k: gradients(reference, x, k, *how))(x, kernel)
    for word in WORDS:
        got = jax.jit(lambda x, k, word=word: gradients(conv, x, k, *how, word))(x, kernel)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9, err_msg=word)


def test_the_word_decides_where_the_layer_divides_so():
    assert choose((3, 3, 4, 256), 64, "native") == ("native", 4)
    assert choose((3, 3, 4, 256), 64, "packed:128") == ("packed", 128)
    assert choose((3, 3, 32, 256), 8, "blocks:16") == ("blocks", 32)
    assert choose((3, 3, 4, 256), 64, "dense") == ("dense", 256)
    assert choose((3, 3, 1, 96), 96, "shifts") == ("shifts", 1)
    with platform.targeting("gpu", "H100"):
        for word in ("packed:512", "auto"):
            assert choose((3, 3, 4, 256), 64, word) == ("packed", 16)
        assert choose((3, 3, 32, 2048), 64) == ("packed", 32)  # which stays as it is
        assert choose((3, 3, 4, 256), 64, "shifts") == ("shifts", 4)
        assert choose((3, 3, 8, 256), 32, "shifts") == ("packed", 16)
        assert choose((3, 3, 12, 48), 4, "packed:32") == ("native", 12)


def test_words_of_a_config():
    assert all(map(is_lowering, ["auto", *WORDS]))
    wrong = ["", "packed", "packed:", "packed:96", "packed:1", "packed:-8", "blocks:x", "dense:32",
             "Native", "packed:WIDTH", "packed:8:8"]  # fmt: skip
    assert not any(map(is_lowering, wrong))


def test_depthwise_and_wide_groups_are_not_packed():
    with platform.targeting("tpu", "v5e"):
        assert choose((3, 3, 1, 256), 256) == ("native", 1)
        assert choose((3, 3, 128, 512), 4) == ("packed", 128)
        assert choose((3, 3, 8, 512), 64) == ("packed", 128)
        assert choose((3, 3, 4, 256), 64) == ("packed", 256)
