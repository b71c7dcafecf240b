"""The two ends of a shortcut: the fork before a block, and the sum after it."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxft.devices import platform


def fork(x: Array, stride: int) -> tuple[Array, Array | None]:
    """Return a block's input, and on a GPU the pixels of it that a strided shortcut reads.

    Otherwise XLA would have cuDNN write the shortcut's gradient with zeros for all other pixels, to
    which the first convolution's gradient is then added. None: the shortcut takes the pixels.
    """
    if stride == 1 or platform.current().name != "gpu":
        return x, None
    return _fork(stride, x)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _fork(stride: int, x: Array) -> tuple[Array, Array]:
    return x, x[:, ::stride, ::stride]


def _fork_forward(stride: int, x: Array) -> tuple[tuple[Array, Array], None]:
    return _fork(stride, x), None


def _fork_backward(stride: int, _: None, gradients: tuple[Array, Array]) -> tuple[Array]:
    gradient, few = gradients
    height, width = gradient.shape[1:3]
    spread = few.repeat(stride, 1).repeat(stride, 2)[:, :height, :width]
    row, column = (lax.broadcasted_iota(jnp.int32, gradient.shape, axis) for axis in (1, 2))
    read = (row % stride == 0) & (column % stride == 0)
    # Used twice, a convolution's result is not taken into another's sum.
    return (jnp.where(read, gradient + spread, gradient),)


_fork.defvjp(_fork_forward, _fork_backward)


@jax.custom_vjp
def add_relu(x: Array, y: Array) -> Array:
    """Compute relu(x + y), to the bit, in the form that the platform is fast with.

    XLA CPU considers a maximum cheap and would compute x + y again wherever it is needed, hence the
    x before it, and so on back to the first block; it computes a sum of two arrays once. The GPU's
    convolutions end in a maximum at no cost, and in no other form.
    """
    if platform.current().name == "cpu":
        return jnp.where(x > -y, x, -y) + y
    return jnp.maximum(x + y, 0)


def _add_relu_forward(x: Array, y: Array) -> tuple[Array, Array]:
    total = jnp.where(x > -y, x, -y) + y
    return total, total


def _add_relu_backward(total: Array, gradient: Array) -> tuple[Array, Array]:
    passed = jnp.where(total > 0, gradient, 0)
    return passed, passed


add_relu.defvjp(_add_relu_forward, _add_relu_backward)
