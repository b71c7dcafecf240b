"""Runners of consecutive steps, on batches that are read ahead."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from jaxft.data.batches import Readers, Stretch, train_batches
from jaxft.data.feed import Feed
from jaxft.data.images.sizing import canvas_size
from jaxft.data.slots import Slots, layout
from jaxft.devices import sharding
from jaxft.materials.materials import Materials
from jaxft.models.variables import Weights
from jaxft.runtime import hosts
from jaxft.training.spec import StepSpec
from jaxft.training.train_state import Sink, Step, TrainBatch, TrainState


@runtime_checkable
class Runner(Protocol):
    """Run up to `steps` of a phase's steps from step `first` on, until `sink` returns False.

    Returns the state, the number of steps run, and the seconds that they waited for input.
    """

    def __call__(
        self,
        state: TrainState,
        frozen: Weights,
        rates: Any,
        seed: Any,
        first: int,
        steps: int,
        sink: Sink,
    ) -> tuple[TrainState, int, float]: ...


def rates_table(spec: StepSpec, materials: Materials, rates: Any) -> Any:
    """A rate for every step, on the mesh, as long for the range test as for the phase."""
    length = spec.rates_length(materials.settings.finder.steps)
    table = np.zeros(max(length, len(rates)))
    table[: len(rates)] = rates
    return sharding.replicate(table.astype(jax.dtypes.canonicalize_dtype(float)), materials.mesh)


def train_feed(spec: StepSpec, materials: Materials, first: int, steps: int) -> Feed[TrainBatch]:
    """The batches of a phase's steps from `first` on, read ahead and placed on the mesh."""
    data = materials.settings.data
    return train_batches(
        materials.train_images,
        materials.dataset.train.labels,
        slots=Slots(
            data.batch_size,
            hosts.index(),
            hosts.count(),
            layout(data.batch_size, materials.mesh.size, spec.phase.microbatches),
        ),
        canvas=canvas_size(materials.image_size),
        stretch=Stretch(materials.settings.seed, spec.phase_index, steps, first),
        balanced=spec.balance.kind == "sampling",
        finish=lambda batch: sharding.split_batch(
            TrainBatch(batch.image, batch.label), materials.mesh
        ),
        readers=Readers(data.threads, data.workers),
    )


def image_runner(spec: StepSpec, materials: Materials, make: Callable[..., Step]) -> "FedRunner":
    """Steps on augmented images, as `make` makes them."""
    feed = partial(train_feed, spec, materials)
    return FedRunner(make(spec, materials.mesh), spec, materials, feed)


class FedRunner:
    """A Runner of `one_step` on the batches that `feed(first, steps)` reads ahead.

    It reads ahead to the end of the phase: the next epoch's first batches are ready when the
    validation before it is done, and worker processes start only once. The caller closes it.
    """

    def __init__(
        self,
        one_step: Step,
        spec: StepSpec,
        materials: Materials,
        feed: Callable[[int, int], Feed[TrainBatch]],
    ) -> None:
        self._materials = materials
        self._one_step = one_step
        self._phase_steps = spec.total_steps
        self._feed = feed
        self._open: Feed[TrainBatch] | None = None
        self._next_step = 0

    def __call__(
        self,
        state: TrainState,
        frozen: Weights,
        rates: Any,
        seed: Any,
        first: int,
        steps: int,
        sink: Sink,
    ) -> tuple[TrainState, int, float]:
        folded = self._materials.forward.fold(frozen)
        ready = self._ready(first, steps)
        waited, self._next_step = ready.waited_seconds, -1  # should this fail, nobody knows where
        state, done = run_steps(self._one_step, state, folded, ready, rates, seed, steps, sink)
        self._next_step = first + done
        return state, done, ready.waited_seconds - waited

    def _ready(self, first: int, steps: int) -> Feed[TrainBatch]:
        """The open feed if it stands at `first`, else a new one, as after a range test."""
        if self._open is None or self._next_step != first:
            self.close()
            self._open = self._feed(first, max(steps, self._phase_steps - first))
        return self._open

    def close(self) -> None:
        """Stop reading ahead."""
        if self._open is not None:
            self._open.close()
        self._open = None


@contextmanager
def closing(runner: Runner) -> Iterator[Runner]:
    """Close a runner that reads ahead, at the end."""
    try:
        yield runner
    finally:
        if isinstance(runner, FedRunner):
            runner.close()


def run_steps(
    step: Step,
    state: TrainState,
    frozen: Weights,
    source: Iterator[TrainBatch],
    rates: Float[Array, " steps"],
    seed: Int[Array, ""],
    steps: int,
    sink: Sink,
) -> tuple[TrainState, int]:
    """Run up to `steps` steps, handing each loss to `sink` one step late.

    Step n+1 is dispatched before the loss of step n is fetched, so that the device never waits
    for the host. `sink(n, loss)` returns False to stop (a step that has started is kept).

    Returns:
      The state, and the number of steps run.
    """
    pending: Array | None = None
    done = 0
    with jax.transfer_guard("disallow"):
        for batch in source:
            state, loss = step(state, frozen, batch, rates, seed)
            done += 1
            if pending is not None and not sink(done - 2, float(jax.device_get(pending))):
                pending = loss
                break
            pending = loss
            if done == steps:
                break
    if pending is not None:
        sink(done - 1, float(jax.device_get(pending)))
    return state, done
