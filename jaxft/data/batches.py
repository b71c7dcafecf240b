"""From (seed, phase, epoch, step) to batches: order, keys, canvases, prefetching.

Nothing here remembers where it is: any step of any epoch follows from its number, so that a
run goes on from a checkpoint without reading what came before.
"""

import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, Key

from jaxft.data import Batch, balance
from jaxft.data.images import Images, cores

T = TypeVar("T")
ORDER_STREAM, EXAMPLE_STREAM = 0, 1
CROP_STREAM, VIEW_STREAM = 2, 3


def canvas_size(image_size: int) -> int:
    """Side of the square that a host hands over: ceil(1.1 * image_size), room to zoom and crop."""
    return -(-image_size * 11 // 10)  # in whole numbers: 1.1 * 50 is 55.00000000000001


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


def example_keys(key: Key[Array, ""], positions: Int32[Array, "batch"]) -> Key[Array, "batch"]:
    """One key for each position in the global order of an epoch; for use inside the step."""
    return jax.vmap(partial(jax.random.fold_in, key))(positions)


def order(
    seed: int | Array,
    phase: int | Array,
    epoch: int | Array,
    examples: int,
    labels: Int32[Array, "examples"] | None = None,
    counts: tuple[int, ...] = (),
) -> Int32[Array, "examples"]:
    """The order of an epoch: the same bits on host and device, inside `jit` or not.

    With `labels`, and the `counts` of each, it is class-balanced (balance.order).
    """
    key = _key(seed, phase, epoch, ORDER_STREAM)
    if labels is not None:
        return balance.order(key, labels, counts)
    return jax.random.permutation(key, jnp.arange(examples, dtype=jnp.int32))


def cached_rows(
    order: Int32[Array, "examples"],
    seed: int | Array,
    phase: int | Array,
    epoch: int | Array,
    views: int,
) -> Int32[Array, "examples"]:
    """Where each position of an epoch finds its features among those of several views.

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
    """Where each position's canvas lies along its longer side, float64 [examples] in [0, 1)."""
    bits = np.random.Philox(np.random.SeedSequence([seed, phase, epoch, CROP_STREAM]))
    # Raw words: NumPy promises that these stay the same from release to release.
    return (bits.random_raw(examples) >> np.uint64(11)) * 2.0**-53


def crop(image: np.ndarray, canvas: int, share: float = 0.5) -> np.ndarray:
    """The square of `canvas` pixels at `share` of the room that the longer side leaves."""
    height, width = image.shape[:2]
    top, left = round((height - canvas) * share), round((width - canvas) * share)
    return image[top : top + canvas, left : left + canvas]


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
    workers: int | None = None,
) -> Iterator[Batch]:
    """Shuffled batches for steps start_step ... start_step + steps - 1 of a phase.

    Args:
      images: whose shorter side is `canvas`.
      batch_size: over all hosts; this one yields its share of it.
      phase: number of the phase, part of every key.
      start_step: counted over the epochs of the phase.
      layout: where each of a batch's examples stands, as `layout` gives it; None: in order.
      balanced: whether each class is drawn equally often.
      workers: threads that decode what is not in memory; None: one for each core.

    Raises:
      ValueError: batch_size is more than there are images, or no multiple of host_count.
      decode.UnreadableImage: naming the file, where one can no longer be read.
    """
    per_epoch = steps_per_epoch(len(images), batch_size)
    places = np.arange(batch_size) if layout is None else layout
    mine = places[_share(batch_size, host_index, host_count)]
    return _train_batches(
        _Assembler(images, labels, canvas, workers),
        range(start_step, start_step + steps),
        per_epoch,
        batch_size,
        mine,
        (seed, phase),
        labels if balanced else None,
    )


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
    workers: int | None = None,
) -> Iterator[Batch]:
    """Every example from `first` on once, in order; the last batch is padded, mask False there.

    All hosts yield the same number of batches. Further arguments and errors as for train_batches.

    Args:
      shares: where each example's canvas lies, as `crop_shares` gives it; None: centred.
    """
    mine = _share(batch_size, host_index, host_count)
    shares = np.full(len(images), 0.5) if shares is None else shares
    assembler = _Assembler(images, labels, canvas, workers)
    return _eval_batches(assembler, first, batch_size, mine, shares)


def _share(batch_size: int, host_index: int, host_count: int) -> slice:
    if batch_size % host_count:
        raise ValueError(f"batch_size {batch_size} is no multiple of the {host_count} hosts")
    size = batch_size // host_count
    return slice(host_index * size, (host_index + 1) * size)


def _train_batches(
    assembler: "_Assembler",
    steps: range,
    per_epoch: int,
    batch_size: int,
    mine: np.ndarray,
    seed_and_phase: tuple[int, int],
    balanced_labels: np.ndarray | None,
) -> Iterator[Batch]:
    examples, current = len(assembler.images), -1
    with assembler:
        for step in steps:
            epoch, within = divmod(step, per_epoch)
            if epoch != current:
                indices = host_order(*seed_and_phase, epoch, examples, balanced_labels)
                shares = crop_shares(*seed_and_phase, epoch, examples)
                current = epoch
            positions = within * batch_size + mine
            yield assembler.batch(indices[positions], shares[positions])


def _eval_batches(
    assembler: "_Assembler", first: int, batch_size: int, mine: slice, shares: np.ndarray
) -> Iterator[Batch]:
    with assembler:
        for start in range(first, len(assembler.images), batch_size):
            indices = np.arange(start, start + batch_size, dtype=np.int32)[mine]
            yield assembler.batch(indices, shares[np.minimum(indices, len(shares) - 1)])


class _Assembler:
    """Puts batches together; holds the threads that decode what memory does not."""

    def __init__(
        self, images: Images, labels: np.ndarray, canvas: int, workers: int | None
    ) -> None:
        if images.shorter_side != canvas:
            raise ValueError(f"images are {images.shorter_side} pixels, canvases {canvas}")
        if len(labels) != len(images):
            raise ValueError(f"{len(images)} images and {len(labels)} labels")
        self.images, self.labels, self.canvas = images, labels, canvas
        self._workers = workers or cores()
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> "_Assembler":
        if not self.images.in_memory and self._workers > 1:
            self._pool = ThreadPoolExecutor(self._workers, "decode")
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def batch(self, indices: np.ndarray, shares: np.ndarray) -> Batch:
        mask = indices < len(self.images)
        indices = np.where(mask, indices, 0).astype(np.int32)
        image = np.zeros((len(indices), self.canvas, self.canvas, 3), np.uint8)

        def fill(slot: int) -> None:
            pixels = self._pixels(int(indices[slot]))
            image[slot] = crop(pixels, self.canvas, shares[slot])

        slots = np.flatnonzero(mask).tolist()
        for _ in self._pool.map(fill, slots) if self._pool else map(fill, slots):
            pass
        labels = np.where(mask, self.labels[indices], 0).astype(np.int32)
        return Batch(image, labels, indices, mask)

    def _pixels(self, index: int) -> np.ndarray:
        try:
            return self.images[index]
        except Exception as error:
            error.add_note(f"while reading {self.images.split.names[index]}")
            raise


class Prefetch(Generic[T]):
    """Runs an iterator ahead in a thread; a context manager and an iterator.

    Errors of the iterator come out of `next`. Closing (or leaving the `with`, or losing the
    last reference) stops the thread; the interpreter never waits for it.

    Attributes:
      waited_seconds: how long `next` has kept its caller waiting, in all.
    """

    def __init__(self, source: Iterator[T], depth: int = 3) -> None:
        self.waited_seconds = 0.0
        self._ready: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
        self._stop = threading.Event()
        self._finished = False
        # The thread knows nothing of self, else it would keep it alive.
        self._thread = threading.Thread(
            target=_pump, args=(source, self._ready, self._stop), name="prefetch", daemon=True
        )
        self._finalizer = weakref.finalize(self, _halt, self._ready, self._stop)
        self._thread.start()

    def __iter__(self) -> "Prefetch[T]":
        return self

    def __next__(self) -> T:
        if self._finished:
            raise StopIteration
        start = time.perf_counter()
        kind, value = self._ready.get()
        self.waited_seconds += time.perf_counter() - start
        if kind == "item":
            return value
        self._finished = True
        if kind == "error":
            raise value
        raise StopIteration

    def close(self) -> None:
        """Stops the thread and waits until it has let go of the source."""
        self._finished = True
        self._finalizer()
        self._thread.join()

    def __enter__(self) -> "Prefetch[T]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _pump(source: Iterator[T], ready: "queue.Queue[Any]", stop: threading.Event) -> None:
    """Moves items from source to queue until it ends, fails, or is told to stop."""
    last: tuple[str, Any] = ("end", None)
    try:
        _feed(source, ready, stop)
    except BaseException as error:  # whatever it is, the consumer must hear of it
        last = ("error", error)
    if not stop.is_set():
        ready.put(last)


def _feed(source: Iterator[T], ready: "queue.Queue[Any]", stop: threading.Event) -> None:
    try:
        for item in source:
            if not stop.is_set():
                ready.put(("item", item))
            if stop.is_set():
                return
    finally:
        getattr(source, "close", lambda: None)()


def _halt(ready: "queue.Queue[Any]", stop: threading.Event) -> None:
    """Stops a pump, wherever it is: one that waits for room in the queue is given some."""
    stop.set()
    while True:
        try:
            ready.get_nowait()
        except queue.Empty:
            return
