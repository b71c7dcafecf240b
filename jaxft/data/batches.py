"""From (seed, phase, epoch, step) to batches: order, keys, canvases.

Nothing here remembers where it is: any step of any epoch follows from its number, so that a
run goes on from a checkpoint without reading what came before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, Key

from jaxft.data import Batch, balance
from jaxft.data.feed import Feed, read_ahead
from jaxft.data.images.memory import Images
from jaxft.runtime.process import cores

ORDER_STREAM, EXAMPLE_STREAM = 0, 1
CROP_STREAM, VIEW_STREAM = 2, 3
# What a thread decodes at once, of a batch that all threads share: enough that handing it over
# costs nothing beside it, and little enough that the first batch is soon there.
PART_EXAMPLES = 16


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


def layout(batch_size: int, devices: int, microbatches: int) -> np.ndarray:
    """The order in which a batch goes to the devices, int [batch_size].

    Each device takes its share of every microbatch, so that a microbatch holds the same examples
    on any number of devices.
    """
    parts = np.arange(batch_size).reshape(microbatches, devices, -1)
    return parts.swapaxes(0, 1).reshape(-1)


def epoch_key(seed: int | Array, phase: int | Array, epoch: int | Array) -> Key[Array, ""]:
    """The key from which everything random for the examples of an epoch follows."""
    return _key(seed, phase, epoch, EXAMPLE_STREAM)


def example_keys(key: Key[Array, ""], positions: Int32[Array, " batch"]) -> Key[Array, " batch"]:
    """One key for each position in the global order of an epoch; for use inside the step."""
    return jax.vmap(partial(jax.random.fold_in, key))(positions)


def order(
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
    key = _key(seed, phase, epoch, ORDER_STREAM)
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
    """Rows at which the positions of an epoch find their features among those of several views.

    They lie view after view, views * examples rows: an example's row is its number, plus the number
    of examples for every view before the one that is drawn for this position. Of one: `order`.
    """
    if views == 1:
        return order
    key = _key(seed, phase, epoch, VIEW_STREAM)
    return order + len(order) * jax.random.randint(key, order.shape, 0, views, jnp.int32)


def _key(seed: int | Array, phase: int | Array, epoch: int | Array, stream: int) -> Key[Array, ""]:
    # Named, so that a user's jax_default_prng_impl changes no run.
    key = jax.random.key(seed, impl="threefry2x32")
    for number in (phase, epoch, stream):
        key = jax.random.fold_in(key, number)
    return key


def host_order(
    seed: int, phase: int, epoch: int, examples: int, labels: np.ndarray | None = None
) -> np.ndarray:
    """`order` as a NumPy array, computed on the CPU where there is one beside the accelerator."""
    counts = () if labels is None else balance.counts_of(labels)
    return _on_host(_jitted_order, seed, phase, epoch, examples, labels, counts)


def host_rows(order: np.ndarray, seed: int, phase: int, epoch: int, views: int) -> np.ndarray:
    """`cached_rows`, as `host_order` is `order`."""
    return _on_host(_jitted_rows, order, seed, phase, epoch, views)


_jitted_order = jax.jit(order, static_argnums=(3, 5))
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


# A batch's number -> the examples of this process's share of it, and where each one's canvas lies.
Places = Callable[[int], tuple[np.ndarray, np.ndarray]]


def train_batches(
    images: Images,
    labels: np.ndarray,
    *,
    batch_size: int,
    canvas: int,
    seed: int,
    phase: int,
    start_step: int = 0,
    steps: int,
    host_index: int = 0,
    host_count: int = 1,
    layout: np.ndarray | None = None,
    balanced: bool = False,
    finish: Callable[[Batch], Any] = lambda batch: batch,
    threads: int = 0,
    workers: int = 0,
) -> Feed[Any]:
    """Shuffled batches for steps start_step ... start_step + steps - 1 of a phase, read ahead.

    Args:
      images: whose shorter side is `canvas`.
      batch_size: over all hosts; this one yields its share of it.
      phase: number of the phase, part of every key.
      start_step: counted over the epochs of the phase.
      layout: where each of a batch's examples stands, as `layout` gives it; None: in order.
      balanced: whether each class is drawn equally often.
      finish: what becomes of each, ahead of time, in a thread.
      threads: that decode what is not in memory; 0: one for each core.
      workers: processes that decode instead, where not all is in memory.

    Raises:
      ValueError: batch_size is more than there are images, or no multiple of host_count.
      UnreadableImage: naming the file, where one can no longer be read.
      UserError: a worker was killed.
    """
    per_epoch = steps_per_epoch(len(images), batch_size)
    places = np.arange(batch_size) if layout is None else layout
    mine = places[_share(batch_size, host_index, host_count)]
    drawn = labels if balanced else None
    chosen = _TrainPlaces(seed, phase, len(images), drawn, per_epoch, batch_size, mine)
    numbers = range(start_step, start_step + steps)
    return _read(images, labels, canvas, chosen, len(mine), numbers, finish, threads, workers)


def eval_batches(
    images: Images,
    labels: np.ndarray,
    *,
    batch_size: int,
    canvas: int,
    first: int = 0,
    shares: np.ndarray | None = None,
    host_index: int = 0,
    host_count: int = 1,
    threads: int = 0,
) -> Feed[Batch]:
    """Every example from `first` on once, in order; the last batch is padded, mask False there.

    All hosts yield the same number of batches. Further arguments and errors as for train_batches;
    threads suffice, as nothing else wants this process's interpreter meanwhile.

    Args:
      shares: where each example's canvas lies, as `crop_shares` gives it; None: centred.
    """
    mine = np.arange(batch_size)[_share(batch_size, host_index, host_count)]
    shares = np.full(len(images), 0.5) if shares is None else shares
    chosen = partial(_eval_places, first, shares, batch_size, mine)
    numbers = range(-(-max(len(images) - first, 0) // batch_size))
    return _read(images, labels, canvas, chosen, len(mine), numbers, lambda batch: batch, threads)


def _share(batch_size: int, host_index: int, host_count: int) -> slice:
    if batch_size % host_count:
        raise ValueError(f"batch_size {batch_size} is no multiple of the {host_count} hosts")
    size = batch_size // host_count
    return slice(host_index * size, (host_index + 1) * size)


@dataclass(frozen=True)
class _TrainPlaces:
    """The places of every step of a phase; whole epochs are known at a time, the newest two."""

    seed: int
    phase: int
    examples: int
    balanced_labels: np.ndarray | None
    per_epoch: int
    batch_size: int
    mine: np.ndarray
    known: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        epoch, within = divmod(step, self.per_epoch)
        indices, shares = self._epoch(epoch)
        positions = within * self.batch_size + self.mine
        return indices[positions], shares[positions]

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        # Two threads may both compute it: the same, so that it does not matter whose stays.
        found = self.known.get(epoch)
        if found is None:
            where = (self.seed, self.phase, epoch, self.examples)
            found = host_order(*where, self.balanced_labels), crop_shares(*where)
            self.known[epoch] = found
            self.known.pop(epoch - 2, None)
        return found


def _eval_places(
    first: int, shares: np.ndarray, batch_size: int, mine: np.ndarray, number: int
) -> tuple[np.ndarray, np.ndarray]:
    indices = first + number * batch_size + mine
    return indices, shares[np.minimum(indices, len(shares) - 1)]


def _read(
    images: Images,
    labels: np.ndarray,
    canvas: int,
    places: Places,
    share: int,
    numbers: range,
    finish: Callable[[Batch], Any],
    threads: int,
    workers: int = 0,
) -> Feed[Any]:
    if images.shorter_side != canvas:
        raise ValueError(f"images are {images.shorter_side} pixels, canvases {canvas}")
    if len(labels) != len(images):
        raise ValueError(f"{len(images)} images and {len(labels)} labels")
    if images.in_memory:  # nothing to share out: copying a part twice would take longer
        parts, threads, workers = 1, 0, 0
    else:
        parts, threads = -(-share // PART_EXAMPLES), threads or cores()
    return read_ahead(
        _Assembler(images, labels, canvas, places, parts),
        numbers,
        parts=parts,
        join=_join,
        finish=finish,
        threads=threads,
        workers=workers,
    )


@dataclass(frozen=True)
class _Assembler:
    """Puts together part number `parts * n + p`, the p-th part of batch n."""

    images: Images
    labels: np.ndarray
    canvas: int
    places: Places
    parts: int

    def __call__(self, number: int) -> Batch:
        batch, part = divmod(number, self.parts)
        indices, shares = self.places(batch)
        size = -(-len(indices) // self.parts)
        here = slice(part * size, (part + 1) * size)
        return self._part(indices[here], shares[here])

    def _part(self, indices: np.ndarray, shares: np.ndarray) -> Batch:
        mask = indices < len(self.images)
        indices = np.where(mask, indices, 0).astype(np.int32)
        image = np.zeros((len(indices), self.canvas, self.canvas, 3), np.uint8)
        for slot in np.flatnonzero(mask).tolist():
            image[slot] = self._canvas(int(indices[slot]), float(shares[slot]))
        labels = np.where(mask, self.labels[indices], 0).astype(np.int32)
        return Batch(image, labels, indices, mask)

    def _canvas(self, index: int, share: float) -> np.ndarray:
        try:
            return self.images.canvas(index, share)
        except Exception as error:
            error.add_note(f"while reading {self.images.split.names[index]}")
            raise


def _join(parts: Sequence[Batch]) -> Batch:
    if len(parts) == 1:
        return parts[0]
    return Batch(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
