"""Operations counted in a traced program: beside XLA's own count for the CPU, and by hand."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, Mesh, PartitionSpec

from jaxft.cli.config_file import load_config
from jaxft.config import load
from jaxft.costs import flops, programs
from jaxft.devices import platform
from jaxft.materials.model import create_model

PADS = ("SAME", "VALID", ((2, 1), (0, 3)))


def counted(function, *shapes):
    """Operations counted in a function of float32 arrays, and XLA's count of them."""
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    traced = jax.jit(function).trace(*arguments)
    return flops.of_traced(traced), traced.lower().cost_analysis()["flops"]


def convolution(groups, stride, pads, dilation):
    def convolve(x, kernel):
        return lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            pads,
            rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    return convolve


@pytest.mark.parametrize("groups, stride", list(product((1, 4, 8), (1, 2))))
@pytest.mark.parametrize("pads, dilation", list(product(PADS, (1, 2))))
def test_a_convolution_and_both_gradients_count_as_in_xla(groups, stride, pads, dilation):
    convolve = convolution(groups, stride, pads, dilation)
    x, kernel = (4, 11, 9, 8), (3, 3, 8 // groups, 16)
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (x, kernel)]
    y = jax.eval_shape(convolve, *arguments).shape

    def to_image(x, kernel, dy):
        return jax.vjp(lambda x: convolve(x, kernel), x)[1](dy)

    def to_kernel(x, kernel, dy):
        return jax.vjp(lambda kernel: convolve(x, kernel), kernel)[1](dy)

    ours, xla = counted(convolve, x, kernel)
    assert ours == xla > 0
    for gradient in (to_image, to_kernel):
        assert counted(gradient, x, kernel, y) == (ours, xla)


def test_a_convolution_by_hand():
    # 3x3 on 4x4 pixels, padded: 10 pairs of places meet along each axis, not 12.
    ours, _ = counted(convolution(2, 1, "SAME", 1), (5, 4, 4, 6), (3, 3, 3, 8))
    assert ours == 2 * 5 * 10 * 10 * 3 * 8


@pytest.mark.parametrize("equation, left, right, terms", [
    ("ij,jk->ik", (3, 5), (5, 7), 3 * 5 * 7),
    ("bij,bjk->bik", (2, 3, 5), (2, 5, 7), 2 * 3 * 5 * 7),
    ("bijc,jbi->cb", (2, 3, 5, 7), (5, 2, 3), 2 * 3 * 5 * 7),
])  # fmt: skip
def test_a_product_is_two_operations_a_term(equation, left, right, terms):
    assert counted(lambda a, b: jnp.einsum(equation, a, b), left, right)[0] == 2 * terms


ONE = 2 * 4**3  # operations of a product of two 4 x 4 matrices


def repeated(x):
    return lax.scan(lambda c, _: (c @ c, None), x, length=7)[0]


def chosen(x):
    return lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)


def unbounded(x):
    return lax.while_loop(lambda c: c[0, 0] < 9, lambda c: c @ c, x)


@pytest.mark.parametrize("function, times", [
    (repeated, 7),
    (chosen, 2),
    (unbounded, 1),
    (jax.jit(lambda x: jax.jit(lambda y: y @ y)(x) @ x), 2),
    (jax.checkpoint(lambda x: x @ x), 1),
    (lambda x: jax.grad(lambda y: (y @ y).sum())(x), 2),  # the value is not asked for
    (lambda x: jax.value_and_grad(lambda y: (y @ y).sum())(x), 3),
    (lambda x: lax.scan(lambda c, y: (c, jax.vmap(jnp.matmul)(y, y)), 0, x[None, None])[1], 1),
    (lambda x: jnp.sin(x) + x, 0),
])  # fmt: skip
def test_programs_inside_programs(function, times):
    assert counted(function, (4, 4))[0] == times * ONE


def test_what_no_result_depends_on_does_not_count():
    def wasteful(x):
        def both(y):
            return y @ y, y @ y.T @ y

        unused = x @ x
        return jax.jit(both)(x)[0], (unused @ x)[:0]

    assert counted(lambda x: wasteful(x)[0], (4, 4))[0] == ONE


def test_inside_shard_map_it_is_one_devices_share():
    mesh = Mesh(np.asarray(jax.devices()[:4]), ("data",), axis_types=(AxisType.Auto,))
    rows, whole = PartitionSpec("data"), PartitionSpec()

    @jax.custom_vjp
    def multiply(a, b):
        return a @ b

    multiply.defvjp(lambda a, b: (a @ b, (a, b)), lambda kept, d: (d @ kept[1].T, kept[0].T @ d))

    def local(a, b):
        return lax.psum(
            jax.grad(lambda b: multiply(a, lax.pcast(b, "data", to="varying")).sum())(b), "data"
        )

    mapped = jax.shard_map(local, mesh=mesh, in_specs=(rows, whole), out_specs=whole)
    # Of 4 rows each: the gradient alone, for what is summed is constant.
    assert counted(mapped, (16, 8), (8, 8))[0] == 2 * 4 * 8 * 8


@pytest.mark.slow
@pytest.mark.parametrize("name, least", [("resnext50_32x4d", 0.98), ("efficientnet_lite0", 0.96)])
def test_of_a_model_only_elementwise_operations_are_missing(name, least):
    overrides = (
        "model.weights=none",
        "model.conv=native",
        "data.batch_size=2",
        f"model.name={name}",
    )
    config = load_config("furniture_resnext101", [f"--config.{item}" for item in overrides])
    settings = load.read(config)
    mesh = Mesh(np.asarray(jax.devices()[:1]), ("data",))
    with platform.targeting("none", ""):
        model = create_model(settings, 10)
        call = programs.of_forward(settings, model, programs.weight_shapes(model), mesh, 224)
        traced = call.trace()
    xla = traced.lower().cost_analysis()["flops"]
    assert least * xla < flops.of_traced(traced) < xla
