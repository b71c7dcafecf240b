"""Max pooling whose gradient needs neither atomics nor 32-bit indices, where those cost time."""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, UInt8

from jaxft.devices import platform

SIZE, STRIDE, PAD = 3, 2, 1
PLACES = [(row, column) for row in range(SIZE) for column in range(SIZE)]
NOWHERE = 255
# Window w begins at pixel 2 w - 1: where it, or the next one, has the pixels 2 w and 2 w + 1.
SEEN_AT = (np.array([1, 2]), np.array([NOWHERE, 0]))


def max_pool(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch out_height out_width channels"]:
    """Pool 3x3 windows at a stride of 2, with one pixel of padding on every side.

    XLA's own gradient keeps a 32-bit index for each output and scatters by it, on a GPU with
    atomics: in no fixed order, and in 4.4 times the bytes. Here the place of the maximum within its
    window is kept as one byte, and every pixel adds up the gradients of the windows around it, in
    the order of `select_and_scatter`: the same gradient to the bit. TPU's compiler has that as one
    operation, and would store each of the arrays here.
    """
    if platform.current().name == "tpu":
        return _largest(x)
    return _max_pool(x.shape[1:3], x)


def _largest(x: Array) -> Array:
    edges = ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0))
    window, strides = (1, SIZE, SIZE, 1), (1, STRIDE, STRIDE, 1)
    largest: Array = lax.reduce_window(x, -jnp.inf, lax.max, window, strides, edges)
    return largest


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _max_pool(size: tuple[int, int], x: Array) -> Array:
    return _largest(x)


def _forward(
    size: tuple[int, int], x: Array
) -> tuple[Array, UInt8[Array, "batch out_height out_width channels"]]:
    best, *rest = _windows(x)
    place = jnp.zeros(best.shape, jnp.uint8)
    for number, pixel in enumerate(rest, 1):
        place = jnp.where(pixel > best, jnp.uint8(number), place)  # of equal ones the first
        best = jnp.maximum(best, pixel)
    return best, place


def _windows(x: Array) -> Iterator[Array]:
    """Yield for each of PLACES the pixels of all windows there."""
    edges = ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0))
    padded = jnp.pad(x, edges, constant_values=-jnp.inf)
    batch, height, width, channels = padded.shape
    for row, column in PLACES:
        limit = (batch, height - SIZE + row + 1, width - SIZE + column + 1, channels)
        yield lax.slice(padded, (0, row, column, 0), limit, (1, STRIDE, STRIDE, 1))


def _backward(size: tuple[int, int], place: Array, gradient: Array) -> tuple[Array]:
    """Add up, for two by two pixels at once, the gradients of the up to four windows over each."""
    total: Array | None = None
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        at = SEEN_AT[down][:, None] * SIZE + SEEN_AT[right]
        at = np.where(at < len(PLACES), at, NOWHERE).astype(np.uint8)[:, None, :, None]
        here = _quadruple(place, down, right) == at
        part = jnp.where(here, _quadruple(gradient, down, right), 0)
        total = part if total is None else total + part
    assert total is not None
    batch, rows, _, columns, _, channels = total.shape
    total = total.reshape(batch, STRIDE * rows, STRIDE * columns, channels)
    return (total[:, : size[0], : size[1]],)


def _quadruple(x: Array, down: int, right: int) -> Array:
    """Repeat every window, or the next one down or right, for each of two by two pixels."""
    batch, rows, columns, channels = x.shape
    x = jnp.pad(x[:, down:, right:], ((0, 0), (0, down), (0, right), (0, 0)))
    return jnp.broadcast_to(
        x[:, :, None, :, None], (batch, rows, STRIDE, columns, STRIDE, channels)
    )


_max_pool.defvjp(_forward, _backward)
