"""Images shifted to the places of a kernel."""

from collections.abc import Iterator, Sequence

from jax import lax
from jaxtyping import Array


def windows(
    padded: Array, kernel_shape: Sequence[int], stride: int | tuple[int, int]
) -> Iterator[Array]:
    """Yield the pixels under each place of the kernel, row by row: shifted and strided images."""
    batch, height, width, channels = padded.shape
    rows, columns = kernel_shape[:2]
    down, right = stride if isinstance(stride, tuple) else (stride, stride)
    for i in range(rows):
        for j in range(columns):
            limit = (batch, height - rows + i + 1, width - columns + j + 1, channels)
            yield lax.slice(padded, (0, i, j, 0), limit, (1, down, right, 1))
