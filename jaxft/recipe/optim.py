"""A phase's optimizer: one optax transformation for each layer group that trains.

`optax.partition` (of which `optax.multi_transform` is the older name) routes every group to its
own chain. Its labels name the trained groups only, so a frozen group has neither gradient nor
optimizer state. The train step applies the learning rate itself (`apply` below): the
transformation gives the direction for a rate of 1, scaled by the group's multiplier.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxft.recipe.known import is_off
from jaxft.recipe.schedules import Schedule


@dataclass(frozen=True)
class OptimizerSettings:
    """Settings of `config.optimizer`; see configs/base.py for each key."""

    name: str = "sgd"
    momentum: float = 0.9
    nesterov: bool = False
    beta2: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    decay_towards: Literal["zero", "start"] = "zero"
    decay_norm_and_bias: bool = False
    clip_norm: float = 0.0
    ema_decay: float = 0.0

    def problems(self) -> Iterator[str]:
        """Yield a message for each value that makes no sense, alone or with others."""
        if self.name not in list(CHAINS):
            yield f"optimizer.name is {self.name!r}; known: {', '.join(CHAINS)}"
        if not 0 <= self.momentum < 1:
            yield "optimizer.momentum should be at least 0 and less than 1"
        if not 0 <= self.beta2 < 1:
            yield "optimizer.beta2 should be at least 0 and less than 1"
        if not self.eps > 0:
            yield "optimizer.eps should be more than 0"
        for key in ("weight_decay", "clip_norm"):
            if getattr(self, key) < 0:
                yield f"optimizer.{key} should be 0 or more"
        if not 0 <= self.ema_decay < 1:
            yield "optimizer.ema_decay should be at least 0 and less than 1"
        if self.decay_towards == "start" and not self.weight_decay:
            yield "optimizer.weight_decay is 0; nothing would decay towards the start"


def transformation(
    groups: Mapping[str, float],
    settings: OptimizerSettings,
    momentum: Schedule | None = None,
    weight_decay: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """Make one chain for each trained group, which ends in minus the group's multiplier.

    Args:
      groups: layer group -> learning-rate multiplier, trained groups only.
      settings: the optimizer, and its numbers.
      momentum: momentum (SGD) or beta1 (AdamW) by step, in place of the fixed one.
      weight_decay: in place of the settings' own; it may be traced.

    Returns:
      A transformation over a tree whose top-level keys are exactly those groups.
    """
    decay = _decay(settings, settings.weight_decay if weight_decay is None else weight_decay)
    chains = {
        group: optax.chain(_chain(settings, decay, momentum), optax.scale(-multiplier))
        for group, multiplier in groups.items()
    }
    return optax.partition(chains, {group: group for group in groups})


def apply(params: Any, directions: Any, lr: jax.Array) -> Any:
    """Step along the directions at learning rate `lr`, keeping every parameter's dtype."""
    return jax.tree.map(lambda p, d: p + (lr * d).astype(p.dtype), params, directions)


def _chain(
    settings: OptimizerSettings, decay: optax.GradientTransformation, momentum: Schedule | None
) -> optax.GradientTransformation:
    chain = CHAINS[settings.name](settings, decay, momentum)
    if settings.clip_norm:
        return optax.chain(optax.clip_by_global_norm(settings.clip_norm), chain)
    return chain


def _sgd(
    settings: OptimizerSettings, decay: optax.GradientTransformation, momentum: Schedule | None
) -> optax.GradientTransformation:
    """SGD with momentum; weight decay joins the gradient before it (L2)."""
    if momentum is None:
        trace = optax.trace(settings.momentum, settings.nesterov)
    else:
        # The schedule is this factory's argument, so optax keeps its count in the state.
        trace = optax.inject_hyperparams(optax.trace, static_args=("nesterov",))(
            decay=momentum, nesterov=settings.nesterov
        )
    return optax.chain(decay, trace)


def _adamw(
    settings: OptimizerSettings, decay: optax.GradientTransformation, momentum: Schedule | None
) -> optax.GradientTransformation:
    """AdamW; weight decay is decoupled (Loshchilov and Hutter, 2019)."""
    if momentum is None:
        adam = optax.scale_by_adam(settings.momentum, settings.beta2, settings.eps)
    else:
        adam = optax.inject_hyperparams(optax.scale_by_adam)(
            b1=momentum, b2=settings.beta2, eps=settings.eps
        )
    return optax.chain(adam, decay)


CHAINS = {"sgd": _sgd, "adamw": _adamw}


def _decay(settings: OptimizerSettings, rate: Any) -> optax.GradientTransformation:
    if is_off(rate):
        return optax.identity()
    if settings.decay_towards == "start":
        decay = decay_to_start(rate)
    else:
        decay = optax.add_decayed_weights(rate)
    return decay if settings.decay_norm_and_bias else optax.masked(decay, _is_kernel)


class StartState(NamedTuple):
    """Parameters that a phase began with."""

    start: Any


def decay_to_start(rate: Any) -> optax.GradientTransformation:
    """Add `rate` times the distance that the parameters have moved since `init`.

    L2-SP (Li et al. 2018) for the body. There a new head decays towards 0, here towards its values
    at the beginning of the phase.
    """

    def init(params: Any) -> StartState:
        return StartState(jax.tree.map(jnp.copy, params))

    def update(updates: Any, state: StartState, params: Any = None) -> tuple[Any, StartState]:
        pulled = jax.tree.map(lambda u, p, s: u + rate * (p - s), updates, params, state.start)
        return pulled, state

    return optax.GradientTransformation(init, update)


def _is_kernel(params: Any) -> Any:
    """True for kernels; biases and BatchNorm's scale and bias are vectors."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
