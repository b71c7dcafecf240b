"""The train step, differentiated for the trained groups only, and the loops around it."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from jaxft.augment import mix
from jaxft.augment.augment import augment
from jaxft.augment.view import network_input
from jaxft.data.order import cached_rows, epoch_key, epoch_order, position_keys
from jaxft.devices import compiler, sharding
from jaxft.devices.sharding import AXIS
from jaxft.models.variables import Weights, param_dtype
from jaxft.recipe import groups, optim
from jaxft.recipe.cross_entropy import cross_entropy
from jaxft.recipe.known import is_off
from jaxft.training import guard, moving_average
from jaxft.training.spec import StepSpec
from jaxft.training.train_state import ExampleKeys, Step, TrainBatch, TrainState


def start(spec: StepSpec, weights: Weights) -> tuple[TrainState, Weights]:
    """The state for the phase's first step, with fresh optimizer state, and the frozen groups."""
    trained, fixed = groups.split(weights.params, spec.phase.groups)
    stats, fixed_stats = groups.split(weights.batch_stats, spec.phase.groups)
    average = jax.tree.map(jnp.copy, Weights(trained, stats)) if spec.ema_decay else None
    opt_state = spec.optimizer.init(trained)
    state = TrainState(jnp.zeros((), jnp.int32), trained, stats, opt_state, average)
    return state, Weights(fixed, fixed_stats)


def example_keys(
    spec: StepSpec, seed: Int[Array, ""], step: Int[Array, ""], local: int, steps: int = 1
) -> ExampleKeys:
    """Keys [steps * local] of this device's examples in the steps from `step` on, of one epoch."""
    epoch, in_epoch = jnp.divmod(step, spec.steps_per_epoch)
    count = spec.phase.microbatches
    share, part = local // count, spec.batch_size // count
    firsts = (in_epoch + jnp.arange(steps)) * spec.batch_size + lax.axis_index(AXIS) * share
    # Each microbatch is divided over the devices, as slots.layout lays out what comes in.
    within = (jnp.arange(count)[:, None] * part + jnp.arange(share)).reshape(-1)
    positions = (firsts[:, None] + within).reshape(-1)
    keys = position_keys(epoch_key(seed, spec.phase_index, epoch), positions)
    return ExampleKeys(*jax.vmap(jax.random.split, out_axes=1)(keys))


def example_weights(
    spec: StepSpec, label: Int[Array, " batch"], dtype: Any
) -> Float[Array, " batch"] | float:
    """Weight of every example's loss: 1, or by its class where classes are weighted.

    Their mean over all examples is 1, but not over a batch: divided by the batch's own sum, an
    example's weight would depend on the rest of its batch.
    """
    if spec.balance.kind != "weights":
        return 1.0
    return jnp.asarray(spec.balance.class_weights, dtype)[label]


def label_losses(
    spec: StepSpec, logits: Float[Array, "batch classes"], label: Int[Array, " batch"]
) -> Float[Array, " batch"]:
    """Training loss of every example: cross-entropy with the smoothed label, in nats.

    The share `label_smoothing` of the label is spread evenly over all classes (Szegedy 2016).
    The label's class weights the loss if classes are weighted.
    """
    losses, spread = cross_entropy(logits, label), spec.label_smoothing
    if not is_off(spread):
        losses = (1 - spread) * losses - spread * jax.nn.log_softmax(logits).mean(-1)
    return losses * example_weights(spec, label, logits.dtype)


def training_images(
    spec: StepSpec, batch: TrainBatch, keys: ExampleKeys, dtype: Any
) -> tuple[Float[Array, "batch size size 3"], Float[Array, " batch"] | None]:
    """Augmented images as the network takes them, and each one's share in its mixture, if mixed."""
    view, share = augment(batch.inputs, keys.augment, spec.augmentation, spec.image_size), None
    if spec.augmentation.mixes:
        view, share = mix.mix(view, keys.augment, spec.augmentation)
    return network_input(view, spec.model.preprocessing, dtype), share


def batch_share(spec: StepSpec, step: Int[Array, ""]) -> Float[Array, ""] | None:
    """Share of the batch's own statistics in those that the body's BatchNorm normalises by.

    None means all. Rebased statistics give way to the batch's as the rate warms up, so that the
    head can learn to live with the noise of a small batch.
    """
    steps = spec.phase.warm_steps(spec.steps_per_epoch)
    return jnp.minimum(step / steps, 1) if spec.rebased and steps else None


def training_loss(
    trained: groups.Tree,
    spec: StepSpec,
    frozen: Weights,
    batch_stats: groups.Tree,
    share: Float[Array, ""] | None,
    batch: TrainBatch,
    keys: ExampleKeys,
) -> tuple[Float[Array, ""], tuple[Float[Array, " batch"], groups.Tree]]:
    """Mean loss of the local batch, every example's, and new statistics of the trained groups."""
    model, training = spec.model, spec.training
    params = {**frozen.params, **trained}
    stats = {**frozen.batch_stats, **batch_stats}
    new: groups.Tree = {}
    features, mixed = batch.inputs, None
    if spec.phase.inputs == "augmented":
        images, mixed = training_images(spec, batch, keys, param_dtype(params))
        features, new = model.features(
            params,
            stats,
            images,
            training=training - {"head"},
            axis_name=spec.bn_axis,
            share=share,
        )
    features = features.astype(param_dtype(params))
    logits, new_head = model.classify(
        params,
        stats,
        features,
        training=training & {"head"},
        keys=keys.dropout if "head" in trained else None,
        axis_name=spec.bn_axis,
    )
    losses = label_losses(spec, logits, batch.label)
    if mixed is not None:
        mixed = mixed.astype(losses.dtype)
        other = label_losses(spec, logits, mix.partner(batch.label))
        losses = mixed * losses + (1 - mixed) * other
    return losses.mean(), (losses, {**batch_stats, **new, **new_head})


Local = tuple[Float[Array, " batch"], groups.Tree, groups.Tree]
Sums = tuple[groups.Tree, groups.Tree]


def local_gradient(
    spec: StepSpec,
    state: TrainState,
    frozen: Weights,
    batch: TrainBatch,
    keys: ExampleKeys,
) -> Local:
    """Losses, gradients and new statistics of this device's share, none reduced over devices.

    Microbatches run one after the other, in the memory of one; BatchNorm sees one at a time.
    """
    varying = lax.pcast(state.params, AXIS, to="varying")
    stats = state.batch_stats
    if spec.bn_axis is None:
        stats = lax.pcast(stats, AXIS, to="varying")
    gradient = jax.grad(training_loss, has_aux=True)
    share = batch_share(spec, state.step)
    count = spec.phase.microbatches
    if count == 1:
        grads, (losses, stats) = gradient(varying, spec, frozen, stats, share, batch, keys)
        return losses, grads, stats

    def add(sums: Sums, part: tuple[TrainBatch, Any]) -> tuple[Sums, Float[Array, " batch"]]:
        grads, stats = sums
        more, (losses, stats) = gradient(varying, spec, frozen, stats, share, *part)
        return (jax.tree.map(jnp.add, grads, more), stats), losses

    zeros = lax.pcast(jax.tree.map(jnp.zeros_like, state.params), AXIS, to="varying")
    (grads, stats), losses = lax.scan(add, (zeros, stats), microbatches(count, batch, keys))
    return losses.reshape(-1), jax.tree.map(lambda a: a / count, grads), stats


def microbatches(
    count: int, batch: TrainBatch, keys: ExampleKeys
) -> tuple[TrainBatch, ExampleKeys]:
    """A device's share of a batch in `count` parts, along a new first axis."""

    def parts(tree: Any) -> Any:
        return jax.tree.map(lambda a: a.reshape(count, -1, *a.shape[1:]), tree)

    return parts(batch), parts(keys)


def local_step(
    spec: StepSpec,
    state: TrainState,
    frozen: Weights,
    batch: TrainBatch,
    keys: ExampleKeys,
    rates: Float[Array, " steps"],
) -> tuple[TrainState, Float[Array, " batch"]]:
    """One step on this device's share of the batch; runs inside `shard_map` over `data`.

    Gradients are taken with respect to the trained groups only, of the local loss, and averaged
    once: the parameters are cast to `varying` first, so that nothing is reduced on the way.

    Returns:
      The new state, and the loss of each of this device's examples.
    """
    losses, grads, stats = local_gradient(spec, state, frozen, batch, keys)
    grads = sharding.mean(grads)
    if spec.bn_axis is None:
        stats = sharding.mean(stats)
    directions, opt_state = spec.optimizer.update(grads, state.opt_state, state.params)
    params = optim.apply(state.params, directions, rates[state.step])
    average = moving_average.moved(spec.ema_decay, state, Weights(params, stats))
    after = TrainState(state.step + 1, params, stats, opt_state, average)
    return guard.skipping(state, after, losses, grads) if spec.skips_nonfinite else (after, losses)


def make_step(spec: StepSpec, mesh: Mesh) -> Step:
    """The jitted step (state, frozen, batch, rates, seed) -> (state, loss); donates the state.

    Args of the step:
      state, frozen: as from `start`, replicated over the mesh.
      batch: a TrainBatch, divided over the mesh.
      rates: the learning rate of every step of the phase.
      seed: the run's seed.
    """

    def one_step(
        state: TrainState, frozen: Weights, batch: TrainBatch, rates: Array, seed: Array
    ) -> tuple[TrainState, Array]:
        keys = example_keys(spec, seed, state.step, batch.label.shape[0])
        state, losses = local_step(spec, state, frozen, batch, keys, rates)
        return state, sharding.mean(losses.mean())

    return _jitted(one_step, spec, mesh)


def make_still(spec: StepSpec, mesh: Mesh) -> Step:
    """The jitted step of weights that do not move: `make_step`'s loss by a forward pass alone.

    Takes and returns what `make_step` does. Only the state's step number changes, so a body that
    is warming up sees running statistics that do not move either.
    """

    def one_step(
        state: TrainState, frozen: Weights, batch: TrainBatch, rates: Array, seed: Array
    ) -> tuple[TrainState, Array]:
        def losses(part: tuple[TrainBatch, ExampleKeys]) -> Float[Array, " batch"]:
            return training_loss(state.params, spec, frozen, state.batch_stats, share, *part)[1][0]

        share = batch_share(spec, state.step)
        keys = example_keys(spec, seed, state.step, batch.label.shape[0])
        found = lax.map(losses, microbatches(spec.phase.microbatches, batch, keys))
        return state._replace(step=state.step + 1), sharding.mean(found.mean())

    return _jitted(one_step, spec, mesh)


def _jitted(one_step: Step, spec: StepSpec, mesh: Mesh) -> Step:
    """A step on each device's share, over the mesh."""
    mapped = sharding.shard_map(
        one_step,
        mesh,
        in_specs=(P(), P(), P(AXIS), P(), P()),
        out_specs=(P(), P()),
    )
    exchanging = mesh if spec.overlap_gradients else None
    options = compiler.options(spec.deterministic, exchanging)
    if not sharding.places_kernels():
        return jax.jit(mapped, donate_argnums=0, compiler_options=options)
    # What is donated is written over only where the result is laid out alike.
    places = (sharding.whole(state_shapes(spec), mesh), None)
    return jax.jit(mapped, donate_argnums=0, out_shardings=places, compiler_options=options)


def state_shapes(spec: StepSpec) -> TrainState:
    """The state of a phase as shapes."""
    weights = Weights(*jax.eval_shape(spec.model.init, jax.random.key(0)))
    shapes: TrainState = jax.eval_shape(lambda w: start(spec, w)[0], weights)
    return shapes


def draws(
    spec: StepSpec, labels: Int[Array, " examples"], seed: Array, step: Array, steps: int
) -> tuple[Int[Array, "steps local"], Int[Array, "steps local"], ExampleKeys]:
    """Rows of the cached features, labels and keys of this device's share of steps of one epoch.

    Runs inside `shard_map` over `data`. `step` is the first of the `steps`, counted in the phase.
    """
    epoch = step // spec.steps_per_epoch
    balanced = labels if spec.balance.kind == "sampling" else None
    order = epoch_order(seed, spec.phase_index, epoch, spec.examples, balanced, spec.balance.counts)
    rows = cached_rows(order, seed, spec.phase_index, epoch, spec.phase.views)
    local = spec.batch_size // lax.axis_size(AXIS)
    first = step % spec.steps_per_epoch * spec.batch_size
    rows = lax.dynamic_slice(rows, (first,), (steps * spec.batch_size,))
    rows = rows.reshape(steps, lax.axis_size(AXIS), local)[:, lax.axis_index(AXIS)]
    # For all steps at once: one by one, they would take a twentieth of a CPU's step.
    keys = example_keys(spec, seed, step, local, steps)
    return rows, labels[rows % spec.examples], ExampleKeys(*(k.reshape(steps, local) for k in keys))


def make_epoch(spec: StepSpec, mesh: Mesh, steps: int) -> Step:
    """`steps` steps of a phase on cached features as one compiled scan; donates the state.

    (state, frozen, features, labels, rates, seed) -> (state, losses [steps]). Features [views*N,F],
    view after view, and labels [N] are whole on every device, so the shuffle needs no
    communication. The steps must lie within one epoch.
    """

    def local_epoch(
        state: TrainState,
        frozen: Weights,
        features: Array,
        labels: Array,
        rates: Array,
        seed: Array,
    ) -> tuple[TrainState, Array]:

        def body(
            state: TrainState, drawn: tuple[Array, Array, ExampleKeys]
        ) -> tuple[TrainState, Array]:
            row, label, keys = drawn
            return local_step(spec, state, frozen, TrainBatch(features[row], label), keys, rates)

        state, losses = lax.scan(body, state, draws(spec, labels, seed, state.step, steps))
        return state, sharding.mean(losses.mean(axis=1))  # here once, and not in every step

    mapped = sharding.shard_map(local_epoch, mesh, in_specs=(P(),) * 6, out_specs=(P(), P()))
    options = compiler.options(spec.deterministic)
    return jax.jit(mapped, donate_argnums=0, compiler_options=options)
