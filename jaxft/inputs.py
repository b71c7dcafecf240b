"""What all phases share, and the images that go into steps, features and validation."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from jaxft import evaluate, hosts, report, sharding, step
from jaxft.data import Batch, Dataset, Split, batches
from jaxft.data.batches import Prefetch
from jaxft.data.images import Images
from jaxft.errors import Interrupted
from jaxft.evaluate import View
from jaxft.hosts import Ballot, Stop
from jaxft.models import Model
from jaxft.paths import AnyPath
from jaxft.recipe import Settings
from jaxft.step import Sink, StepSpec, TrainBatch, TrainState, Weights

NEVER = Stop()


class Materials(NamedTuple):
    """What all phases share and none changes; `stop` is set from outside, to end the run."""

    settings: Settings
    mesh: Mesh
    model: Model
    forward: evaluate.Forward
    dataset: Dataset
    train_images: Images
    valid_images: Images
    cache_dir: AnyPath
    console: report.Console
    stop: Stop = NEVER
    origin: Mapping[str, Any] = {}  # of the initial weights, for weights.json

    def demand_going_on(self) -> None:
        """Raises Interrupted where the run was told to stop."""
        if self.stop.is_set():
            raise Interrupted

    @property
    def steps_per_epoch(self) -> int:
        """Whole training batches in an epoch."""
        return batches.steps_per_epoch(len(self.dataset.train), self.settings.data.batch_size)


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

        yield from evaluate.extract_parts(
            materials.forward, weights, counted(ready), materials.mesh, view, part_batches
        )


def eval_feed(
    materials: Materials,
    split: Split,
    images: Images,
    first: int = 0,
    shares: np.ndarray | None = None,
) -> Prefetch[Batch]:
    """Every example of a split from `first` on, in order, read ahead; of each process its share."""
    data = materials.settings.data
    source = batches.eval_batches(
        images,
        split.labels,
        batch_size=data.batch_size,
        canvas=batches.canvas_size(data.image_size),
        first=first,
        shares=shares,
        host_index=hosts.index(),
        host_count=hosts.count(),
        workers=data.threads or None,
    )
    return Prefetch(source)


def train_feed(
    spec: StepSpec, materials: Materials, first: int, steps: int
) -> Prefetch[TrainBatch]:
    """The batches of a phase's steps from `first` on, read ahead and placed on the mesh."""
    data = materials.settings.data
    source = batches.train_batches(
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
        workers=data.threads or None,
    )
    placed = (
        sharding.split_batch(TrainBatch(batch.image, batch.label), materials.mesh)
        for batch in source
    )
    return Prefetch(placed)


def image_runner(spec: StepSpec, materials: Materials) -> Runner:
    """Steps on augmented images, read from `first` on."""
    return fed_runner(spec, materials, partial(train_feed, spec, materials))


def fed_runner(
    spec: StepSpec, materials: Materials, feed: Callable[[int, int], Prefetch[TrainBatch]]
) -> Runner:
    """Steps on the batches that `feed(first, steps)` reads ahead."""
    one_step = step.make_step(spec, materials.mesh)

    def run(
        state: TrainState,
        frozen: Weights,
        rates: Any,
        seed: Any,
        first: int,
        steps: int,
        sink: Sink,
    ) -> tuple[TrainState, int, float]:
        folded = materials.forward.fold(frozen)
        with feed(first, steps) as ready:
            state, done = step.run_steps(one_step, state, folded, ready, rates, seed, steps, sink)
            return state, done, ready.waited_seconds

    return run


def evaluate_weights(
    materials: Materials, weights: Weights, valid_features: np.ndarray | None = None
) -> evaluate.Evaluation:
    """Metrics on the validation split; `valid_features` where the body has not changed."""
    split = materials.dataset.valid
    if valid_features is None:
        valid_features = extract(materials, weights, split, materials.valid_images, "validating")
    return score(materials, weights, valid_features)


def score(
    materials: Materials, weights: Weights, found: Float[np.ndarray, "examples features"]
) -> evaluate.Evaluation:
    """Metrics of the head on features of the validation split."""
    return evaluate.score(
        materials.forward,
        weights,
        found,
        materials.dataset.valid.labels,
        materials.settings.data.batch_size,
        materials.mesh,
    )
