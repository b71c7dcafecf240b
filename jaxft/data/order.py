"""Order of the examples in an epoch, and keys of everything random about them.

All of it follows from (seed, phase, epoch); nothing is remembered.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Int32, Key

from jaxft.data import balance

ORDER_STREAM, EXAMPLE_STREAM = 0, 1
CROP_STREAM, VIEW_STREAM = 2, 3


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Full batches in an epoch; the remainder is dropped, another one in each epoch.

    Raises:
      ValueError: there is not one full batch.
    """
    if examples < batch_size:
        raise ValueError(
            f"a batch of {batch_size} is more than the {examples} training images: "
            f"set batch_size to {examples} or less"
        )
    return examples // batch_size


def epoch_key(seed: int | Array, phase: int | Array, epoch: int | Array) -> Key[Array, ""]:
    """The key of everything random about the examples of an epoch."""
    return stream_key(seed, phase, epoch, EXAMPLE_STREAM)


def position_keys(key: Key[Array, ""], positions: Int[Array, " batch"]) -> Key[Array, " batch"]:
    """One key for each position in the global order of an epoch; for use inside the step."""
    return jax.vmap(partial(jax.random.fold_in, key))(positions)


def epoch_order(
    seed: int | Array,
    phase: int | Array,
    epoch: int | Array,
    examples: int,
    labels: Int32[Array, " examples"] | None = None,
    counts: tuple[int, ...] = (),
) -> Int32[Array, " examples"]:
    """The order of an epoch: the same bits on host and device, inside `jit` or not.

    With `labels`, and the `counts` of each, it is class-balanced (balance.order).
    """
    key = stream_key(seed, phase, epoch, ORDER_STREAM)
    if labels is not None:
        return balance.order(key, labels, counts)
    return jax.random.permutation(key, jnp.arange(examples, dtype=jnp.int32))


def cached_rows(
    order: Int32[Array, " examples"],
    seed: int | Array,
    phase: int | Array,
    epoch: int | Array,
    views: int,
) -> Int32[Array, " examples"]:
    """Rows of the features that the positions of an epoch take, among those of several views.

    The features lie view after view, in views * examples rows. A view is drawn for each position;
    the row is the example's number plus `examples` for every view before the drawn one. With one
    view the rows are `order`.
    """
    if views == 1:
        return order
    key = stream_key(seed, phase, epoch, VIEW_STREAM)
    return order + len(order) * jax.random.randint(key, order.shape, 0, views, jnp.int32)


def stream_key(
    seed: int | Array, phase: int | Array, epoch: int | Array, stream: int
) -> Key[Array, ""]:
    """Key of one stream of random numbers of an epoch."""
    # Named, so that a user's jax_default_prng_impl changes no run.
    key = jax.random.key(seed, impl="threefry2x32")
    for number in (phase, epoch, stream):
        key = jax.random.fold_in(key, number)
    return key


def host_order(
    seed: int, phase: int, epoch: int, examples: int, labels: np.ndarray | None = None
) -> np.ndarray:
    """`epoch_order` as a NumPy array, computed on the CPU if there is one."""
    counts = () if labels is None else balance.counts_of(labels)
    return _on_host(_jitted_order, seed, phase, epoch, examples, labels, counts)


def host_rows(order: np.ndarray, seed: int, phase: int, epoch: int, views: int) -> np.ndarray:
    """`cached_rows`, as `host_order` is `epoch_order`."""
    return _on_host(_jitted_rows, order, seed, phase, epoch, views)


_jitted_order = jax.jit(epoch_order, static_argnums=(3, 5))
_jitted_rows = jax.jit(cached_rows, static_argnums=4)


def _on_host(compute: Callable[..., Array], *arguments: Any) -> np.ndarray:
    try:
        device = jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        device = jax.local_devices()[0]
    with jax.default_device(device), jax.transfer_guard("allow"):
        return np.asarray(compute(*arguments))


def crop_shares(seed: int, phase: int, epoch: int, examples: int) -> np.ndarray:
    """Places of the canvases along their images' longer sides, float64 [examples] in [0, 1)."""
    bits = np.random.Philox(np.random.SeedSequence([seed, phase, epoch, CROP_STREAM]))
    # Raw words: NumPy promises that these stay the same from release to release.
    return (bits.random_raw(examples) >> np.uint64(11)) * 2.0**-53
