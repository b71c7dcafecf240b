"""Materials that all phases share, and the images that go into steps, features and validation."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from jaxft.config.load import Settings
from jaxft.data import Batch, Dataset, Split, batches
from jaxft.data.feed import Feed
from jaxft.data.images.memory import GO_ON, Images, load_images
from jaxft.devices import sharding
from jaxft.errors import Interrupted
from jaxft.evaluation import metrics
from jaxft.evaluation.metrics import View
from jaxft.models import Model
from jaxft.report import tables
from jaxft.runtime import hosts
from jaxft.runtime.hosts import Ballot, Stop
from jaxft.runtime.paths import AnyPath
from jaxft.training import step
from jaxft.training.step import Sink, StepSpec, TrainBatch, TrainState, Weights

NEVER = Stop()
BRING_BACK = "They were whole before. Bring them back; the same command goes on."


class Materials(NamedTuple):
    """Things that phases with images of one size share, and none changes; see `at_size`.

    `stop` is set from outside, to end the run.
    """

    settings: Settings
    mesh: Mesh
    model: Model
    forward: metrics.Forward
    dataset: Dataset
    train_images: Images
    valid_images: Images
    cache_dir: AnyPath
    console: tables.Console
    stop: Stop = NEVER
    origin: Mapping[str, Any] = {}  # of the initial weights, for weights.json
    listed: Mapping[str, Any] = {}  # the data before unreadable images were left out, for data.json

    def demand_going_on(self) -> None:
        """Raises Interrupted where the run was told to stop."""
        if self.stop.is_set():
            raise Interrupted

    @property
    def steps_per_epoch(self) -> int:
        """Whole training batches in an epoch."""
        return batches.steps_per_epoch(len(self.dataset.train), self.settings.data.batch_size)


def read_images(
    settings: Settings,
    dataset: Dataset,
    console: tables.Console,
    cache_dir: AnyPath | None = None,
    stop: Stop = NEVER,
    advice: str = GO_ON,
) -> tuple[Dataset, Images, Images]:
    """images.load_images as the settings say, at `data.image_size`, with progress.

    Raises:
      UserError: unreadable images.
      Interrupted: the run was told to stop.
    """
    data = settings.data
    with console.bar(len(dataset.train) + len(dataset.valid), "reading images") as bar:

        def count(done: int, _: int) -> None:
            bar.update(done * hosts.count() - bar.n)
            if stop.asked or stop.is_set():
                raise Interrupted

        return load_images(
            dataset,
            batches.canvas_size(data.image_size),
            interpolation=data.interpolation,
            max_pixels=data.max_pixels,
            skip_bad=data.skip_bad,
            memory_bytes=None if data.memory_gb < 0 else int(data.memory_gb * 2**30),
            cache_dir=cache_dir,
            progress=count,
            warn=console.say,
            workers=data.threads or None,
            advice=advice,
        )


def at_size(materials: Materials, image_size: int) -> Materials:
    """The same with images of so many pixels, read now; those of another size are let go of.

    Raises:
      UserError, Interrupted: as `read_images`.
    """
    if image_size == materials.settings.data.image_size:
        return materials
    for images in (materials.train_images, materials.valid_images):
        images.forget()
    settings, console = materials.settings.at_size(image_size), materials.console
    console.say(f"\nfrom here on images are of {image_size} px")
    # All of them were whole before: one that is so no more ends the run, whose examples stay.
    strict = replace(settings, data=replace(settings.data, skip_bad=False))
    _, train, valid = read_images(
        strict, materials.dataset, console, materials.cache_dir, materials.stop, BRING_BACK
    )
    forward = metrics.make_forward(
        materials.model, settings.augment, image_size, materials.mesh, settings.deterministic
    )
    return materials._replace(
        settings=settings,
        forward=forward,
        train_images=train,
        valid_images=valid,
    )


# (state, frozen, rates, seed, first, steps, sink) -> (state, steps run, seconds waited for input)
Runner = Callable[..., tuple[TrainState, int, float]]


def extract(
    materials: Materials,
    weights: Weights,
    split: Split,
    images: Images,
    what: str,
    view: View | None = None,
) -> Float[np.ndarray, "examples features"]:
    """The body's features of every example of a split, computed now."""
    return np.concatenate(list(extract_parts(materials, weights, split, images, what, view)))


def extract_parts(
    materials: Materials,
    weights: Weights,
    split: Split,
    images: Images,
    what: str,
    view: View | None = None,
    *,
    first: int = 0,
    shares: np.ndarray | None = None,
    part_examples: int | None = None,
) -> Iterator[Float[np.ndarray, "examples features"]]:
    """As `extract`, of the examples from `first` on, in parts of so many (of whole batches).

    `shares` as for batches.eval_batches.
    """
    ballot = Ballot(materials.stop)
    part_batches = part_examples and part_examples // materials.settings.data.batch_size
    with (
        materials.console.bar(len(split), what, done=first) as bar,
        eval_feed(materials, split, images, first, shares) as ready,
    ):

        def counted(source: Iterable[Batch]) -> Iterator[Batch]:
            for batch in source:
                if ballot():
                    materials.demand_going_on()
                yield batch
                bar.update(int(batch.mask.sum()) * hosts.count())

        yield from metrics.extract_parts(
            materials.forward, weights, counted(ready), materials.mesh, view, part_batches
        )


def eval_feed(
    materials: Materials,
    split: Split,
    images: Images,
    first: int = 0,
    shares: np.ndarray | None = None,
) -> Feed[Batch]:
    """Every example of a split from `first` on, in order, read ahead; of each process its share."""
    data = materials.settings.data
    return batches.eval_batches(
        images,
        split.labels,
        batch_size=data.batch_size,
        canvas=batches.canvas_size(data.image_size),
        first=first,
        shares=shares,
        host_index=hosts.index(),
        host_count=hosts.count(),
        threads=data.threads,
    )


def rates_table(spec: StepSpec, materials: Materials, rates: Any) -> Any:
    """A rate for every step, on the mesh, as long for the range test as for the phase.

    One length means one shape, so that both run the same compiled step.
    """
    phase = spec.phase
    length = sum(phase.cycle_lengths) * spec.steps_per_epoch
    if phase.lr == "find":
        length = max(length, materials.settings.finder.steps)
    table = np.zeros(max(length, len(rates)))
    table[: len(rates)] = rates
    return sharding.replicate(table.astype(jax.dtypes.canonicalize_dtype(float)), materials.mesh)


def seed_of(materials: Materials) -> Any:
    """The run's seed, on the mesh."""
    return sharding.replicate(np.int32(materials.settings.seed), materials.mesh)


def train_feed(spec: StepSpec, materials: Materials, first: int, steps: int) -> Feed[TrainBatch]:
    """The batches of a phase's steps from `first` on, read ahead and placed on the mesh."""
    data = materials.settings.data
    return batches.train_batches(
        materials.train_images,
        materials.dataset.train.labels,
        batch_size=data.batch_size,
        canvas=batches.canvas_size(data.image_size),
        seed=materials.settings.seed,
        phase=spec.phase_index,
        start_step=first,
        steps=steps,
        host_index=hosts.index(),
        host_count=hosts.count(),
        layout=batches.layout(data.batch_size, materials.mesh.size, spec.phase.microbatches),
        balanced=spec.balance.kind == "sampling",
        finish=lambda batch: sharding.split_batch(
            TrainBatch(batch.image, batch.label), materials.mesh
        ),
        threads=data.threads,
        workers=data.workers,
    )


def image_runner(
    spec: StepSpec, materials: Materials, make: Callable[..., step.Step] = step.make_step
) -> "FedRunner":
    """Steps on augmented images, as `make` makes them."""
    feed = partial(train_feed, spec, materials)
    return FedRunner(make(spec, materials.mesh), spec, materials, feed)


class FedRunner:
    """A Runner of `one_step` on the batches that `feed(first, steps)` reads ahead.

    They are read on to the end of the phase, so that the next epoch's first ones are there when the
    validation before it is done, and worker processes start once. To be closed.
    """

    def __init__(
        self,
        one_step: step.Step,
        spec: StepSpec,
        materials: Materials,
        feed: Callable[[int, int], Feed[TrainBatch]],
    ) -> None:
        self._materials = materials
        self._one_step = one_step
        self._phase_steps = sum(spec.phase.cycle_lengths) * spec.steps_per_epoch
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
        state, done = step.run_steps(self._one_step, state, folded, ready, rates, seed, steps, sink)
        self._next_step = first + done
        return state, done, ready.waited_seconds - waited

    def _ready(self, first: int, steps: int) -> Feed[TrainBatch]:
        """The open feed if it stands at `first`, or a new one; a range test leaves it elsewhere."""
        if self._open is None or self._next_step != first:
            self.close()
            self._open = self._feed(first, max(steps, self._phase_steps - first))
        return self._open

    def close(self) -> None:
        """Stops reading ahead."""
        if self._open is not None:
            self._open.close()
        self._open = None


@contextmanager
def closing(runner: Runner) -> Iterator[Runner]:
    """Stops what a runner reads ahead, if it does, at the end."""
    try:
        yield runner
    finally:
        if isinstance(runner, FedRunner):
            runner.close()


def evaluate_weights(
    materials: Materials, weights: Weights, valid_features: np.ndarray | None = None
) -> metrics.Evaluation:
    """Metrics on the validation split; `valid_features` where the body has not changed."""
    split = materials.dataset.valid
    if valid_features is None:
        valid_features = extract(materials, weights, split, materials.valid_images, "validating")
    return score(materials, weights, valid_features)


def score(
    materials: Materials, weights: Weights, found: Float[np.ndarray, "examples features"]
) -> metrics.Evaluation:
    """Metrics of the head on features of the validation split."""
    return metrics.score(
        materials.forward,
        weights,
        found,
        materials.dataset.valid.labels,
        materials.settings.data.batch_size,
        materials.mesh,
    )
