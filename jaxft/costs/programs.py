"""Programs of a run with the shapes of their arguments, to plan with and to bench.

They are those of the run itself (step.make_step, step.make_epoch, inference.make_forward); with
shapes instead of arrays they need neither images nor weights.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxft.config.phase import Phase
from jaxft.config.settings import Settings
from jaxft.costs.call import Call
from jaxft.data.images.sizing import canvas_size
from jaxft.devices import sharding
from jaxft.features.inference import make_fold, make_forward
from jaxft.models.model import Model
from jaxft.models.variables import Weights
from jaxft.training import step
from jaxft.training.spec import StepSpec
from jaxft.training.train_state import TrainBatch

FORWARD = "features"  # the program that extracts features


def distinct(phase: Phase) -> tuple[Any, ...]:
    """Return a key that is the same for phases whose programs differ by numbers alone."""
    one_cycle = phase.schedule == "one_cycle"
    blends = phase.trains_body and phase.warmup_epochs > 0
    bn = "train" if phase.bn == "rebased" and not blends else phase.bn
    # Cached features are as many for any size of images.
    shape = ("views", phase.views) if phase.inputs == "cached" else ("pixels", phase.image_size)
    return phase.inputs, frozenset(phase.groups), bn, one_cycle, phase.microbatches, *shape


def image_sizes(settings: Settings) -> list[int]:
    """Return the sizes of images in the phases of the run, each once, in their order."""
    return list(dict.fromkeys(phase.image_size for phase in settings.phases))


def forward_name(settings: Settings, image_size: int) -> str:
    """Name the extraction of features, with its size where there are several."""
    several = len(image_sizes(settings)) > 1
    return f"{FORWARD} {image_size} px" if several else FORWARD


def weight_shapes(model: Model) -> Weights:
    """Return the weights of all groups of a model as shapes."""
    return Weights(*jax.eval_shape(model.init, jax.random.key(0)))


def of_phase(
    spec: StepSpec, settings: Settings, weights: Weights, mesh: Mesh, epoch_steps: int = 1
) -> Call:
    """Return the call of a phase's step; on cached features, of an epoch of `epoch_steps`."""
    everywhere, divided = _everywhere(mesh), _divided(mesh)
    state, frozen = jax.eval_shape(lambda w: step.start(spec, w), weights)
    if spec.phase.inputs == "augmented":
        frozen = jax.eval_shape(make_fold(spec.model, mesh), frozen)
    state, frozen = everywhere((state, frozen))
    rates = everywhere(
        jax.ShapeDtypeStruct((spec.rates_length(settings.finder.steps),), jnp.float32)
    )
    seed = everywhere(jax.ShapeDtypeStruct((), jnp.int32))
    if spec.phase.inputs == "cached":
        rows = spec.phase.views * spec.examples
        features = jax.ShapeDtypeStruct((rows, spec.model.feature_size), jnp.float32)
        labels = jax.ShapeDtypeStruct((spec.examples,), jnp.int32)
        data = everywhere((features, labels))
        epoch = step.make_epoch(spec, mesh, epoch_steps)
        return Call(epoch, (state, frozen, *data, rates, seed))
    labels = jax.ShapeDtypeStruct((spec.batch_size,), jnp.int32)
    batch = divided(TrainBatch(_canvases(spec.image_size, spec.batch_size), labels))
    return Call(step.make_step(spec, mesh), (state, frozen, batch, rates, seed))


def of_forward(
    settings: Settings, model: Model, weights: Weights, mesh: Mesh, image_size: int
) -> Call:
    """Return the call that extracts the features of a batch."""
    exact = settings.deterministic
    forward = make_forward(model, settings.augment, image_size, mesh, exact)
    folded = _everywhere(mesh)(jax.eval_shape(forward.fold, weights))
    canvases = _divided(mesh)(_canvases(image_size, settings.data.batch_size))
    return Call(forward.features, (folded, canvases))


def _canvases(image_size: int, count: int) -> jax.ShapeDtypeStruct:
    side = canvas_size(image_size)
    return jax.ShapeDtypeStruct((count, side, side, 3), jnp.uint8)


def _everywhere(mesh: Mesh) -> Any:
    """Return a function that gives the shapes of a tree their places, whole on every device."""

    def place(tree: Any) -> Any:
        return jax.tree.map(_shape_at, tree, sharding.whole(tree, mesh))

    return place


def _divided(mesh: Mesh) -> Any:
    """Return a function that divides the first axis of a tree's shapes over the mesh."""
    where = NamedSharding(mesh, PartitionSpec(sharding.AXIS))
    return lambda tree: jax.tree.map(lambda leaf: _shape_at(leaf, where), tree)


def _shape_at(leaf: Any, where: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)
