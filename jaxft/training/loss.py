"""The training loss of a batch, and the images that it is taken on."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxft.augment import mix
from jaxft.augment.augment import augment
from jaxft.augment.view import network_input
from jaxft.models.variables import Weights, param_dtype
from jaxft.recipe import groups
from jaxft.recipe.cross_entropy import cross_entropy
from jaxft.training.spec import StepSpec
from jaxft.training.train_state import ExampleKeys, TrainBatch


def example_weights(
    spec: StepSpec, label: Int[Array, " batch"], dtype: Any
) -> Float[Array, " batch"] | float:
    """Weight of every example's loss: 1, or by its class where classes are weighted.

    Their mean over all examples is 1, but not over a batch: divided by the batch's own sum they
    would depend on the company that an example is in.
    """
    if spec.balance.kind != "weights":
        return 1.0
    return jnp.asarray(spec.balance.class_weights, dtype)[label]


def label_losses(
    spec: StepSpec, logits: Float[Array, "batch classes"], label: Int[Array, " batch"]
) -> Float[Array, " batch"]:
    """Training loss of every example: cross-entropy with the smoothed label, in nats.

    Of the label, the share `label_smoothing` is spread evenly over all classes (Szegedy 2016).
    Weighted by the label's class where classes are.
    """
    losses, spread = cross_entropy(logits, label), spec.augmentation.label_smoothing
    if spread:
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
    """Share of the batch's own statistics in those that the body's BatchNorm trains by.

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
