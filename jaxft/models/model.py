"""A model as pure functions over plain dicts, keyed by layer group: early, late, head."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import unflatten_dict
from jaxtyping import Array, Float, Key

from jaxft.models.body import Body, Preprocessing
from jaxft.models.norm.layer import blending, observing
from jaxft.models.pooling import pool
from jaxft.models.variables import GROUPS

Params = dict[str, Any]
Stats = dict[str, Any]


@dataclass(frozen=True)
class Model:
    """A body cut into two layer groups and a head; holds no parameters.

    Parameters and BatchNorm statistics are dicts with the keys `early`, `late`, `head`. The
    methods are pure and may be jitted, differentiated and mapped.
    """

    name: str
    classes: int
    body: Body
    head: nn.Module
    pooling: str

    groups = GROUPS

    @property
    def preprocessing(self) -> Preprocessing:
        """Mean and standard deviation that the body's weights expect, per channel, 0..255."""
        return self.body.preprocessing

    @property
    def feature_size(self) -> int:
        """Length of the pooled vector that `features` returns and `classify` takes."""
        return self.body.channels * (2 if self.pooling == "max_avg" else 1)

    def init(self, key: Key[Array, ""]) -> tuple[Params, Stats]:
        """Draw random float32 parameters, and create fresh statistics, of all groups."""
        early, late, head = jax.random.split(key, 3)
        image = jnp.zeros((1, 64, 64, 3))
        first = self.body.early.init(early, image, train=False)
        x = jax.eval_shape(lambda v: self.body.early.apply(v, image, train=False), first)
        second = self.body.late.init(late, jnp.zeros(x.shape), train=False)
        variables = {"early": first, "late": second, "head": self._init_head(head)}
        return (
            {group: value["params"] for group, value in variables.items()},
            {group: value.get("batch_stats", {}) for group, value in variables.items()},
        )

    def init_head(self, key: Key[Array, ""]) -> tuple[Any, Any]:
        """Draw the head's part of `init` alone; a body of ImageNet's size takes far longer."""
        variables = self._init_head(jax.random.split(key, 3)[2])
        return variables["params"], variables.get("batch_stats", {})

    def _init_head(self, key: Key[Array, ""]) -> Any:
        return self.head.init(key, jnp.zeros((1, self.feature_size)), train=False, keys=None)

    def features(
        self,
        params: Mapping[str, Any],
        batch_stats: Mapping[str, Any],
        images: Float[Array, "batch height width 3"],
        *,
        training: Collection[str] = (),
        axis_name: str | None = None,
        share: Float[Array, ""] | None = None,
    ) -> tuple[Float[Array, "batch features"], Stats]:
        """Run the body and pool.

        Args:
          params, batch_stats: with at least the groups `early` and `late`.
          images: normalised by `preprocessing`.
          training: the groups whose BatchNorm uses the batch's statistics.
          axis_name: the mesh axis over which those statistics are shared.
          share: the batch's share, 0 to 1, of the statistics that these groups normalise by; the
            rest comes from the running ones. None means 1.

        Returns:
          Pooled features in float32 (or float64, as the images), and the new running statistics
          of the groups in `training`.
        """
        x, stats = images, {}
        with blending(share):
            for group, module in (("early", self.body.early), ("late", self.body.late)):
                x, new = _apply(module, params, batch_stats, group, x, training, axis_name)
                stats.update(new)
        return pool(_widened(x), self.pooling), stats

    def group_features(
        self,
        params: Mapping[str, Any],
        batch_stats: Mapping[str, Any],
        images: Float[Array, "batch height width 3"],
    ) -> dict[str, Float[Array, "batch _"]]:
        """Run the body as `features` does without `training`, and pool after each group.

        Returns:
          `early`: the average over the pixels of what the group puts out; `late`: the features.
        """
        early, late = self.body.early, self.body.late
        x, _ = _apply(early, params, batch_stats, "early", images, (), None)
        y, _ = _apply(late, params, batch_stats, "late", x, (), None)
        return {"early": pool(_widened(x), "avg"), "late": pool(_widened(y), self.pooling)}

    def moments(
        self,
        params: Mapping[str, Any],
        batch_stats: Mapping[str, Any],
        images: Float[Array, "batch height width 3"],
        axis_name: str | None = None,
        *,
        training: Collection[str] = (),
        keys: Key[Array, " batch"] | None = None,
        share: Float[Array, ""] | None = None,
    ) -> Stats:
        """Mean and biased variance of the input of every BatchNorm of the body.

        The body normalises by the running statistics, but for the groups in `training`. Where that
        holds `head`, the head's are found, too; `keys` are for its dropout, as in `classify`. The
        `share` is as in `features`.

        Returns:
          The groups `early` and `late`, and perhaps `head`, each a tree as in `batch_stats`.
        """
        x, found = images, {}
        for group, module in (("early", self.body.early), ("late", self.body.late)):
            with observing(axis_name) as seen, blending(share):
                x, _ = _apply(module, params, batch_stats, group, x, training, axis_name)
            found[group] = unflatten_dict(seen)
        if "head" in training:
            pooled = pool(x.astype(images.dtype), self.pooling)
            with observing(axis_name) as seen:
                self.classify(
                    params, batch_stats, pooled, training=training, keys=keys, axis_name=axis_name
                )
            found["head"] = unflatten_dict(seen)
        return found

    def classify(
        self,
        params: Mapping[str, Any],
        batch_stats: Mapping[str, Any],
        features: Float[Array, "batch features"],
        *,
        training: Collection[str] = (),
        keys: Key[Array, " batch"] | None = None,
        axis_name: str | None = None,
    ) -> tuple[Float[Array, "batch classes"], Stats]:
        """Run the head on pooled features.

        Args:
          params, batch_stats: with at least the group `head`.
          features: as `features` returns them.
          training: as in `features`; matters where it holds `head`.
          keys: one key for each example, for dropout; None = no dropout.
          axis_name: as in `features`.

        Returns:
          Logits, and the new running statistics of `head` if it is in `training`.
        """
        return _apply(
            self.head, params, batch_stats, "head", features, training, axis_name, keys=keys
        )


def _widened(x: Array) -> Array:
    """Return features in float32, or float64 if they are."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _apply(
    module: nn.Module,
    params: Mapping[str, Any],
    batch_stats: Mapping[str, Any],
    group: str,
    x: Array,
    training: Collection[str],
    axis_name: str | None,
    **more: Any,
) -> tuple[Array, Stats]:
    variables = {"params": params[group], "batch_stats": batch_stats[group]}
    if group not in training:
        return cast(Any, module.apply)(variables, x, train=False, axis_name=axis_name, **more), {}
    y, new = cast(Any, module.apply)(
        variables, x, train=True, axis_name=axis_name, mutable=["batch_stats"], **more
    )
    return y, {group: new.get("batch_stats", {})}
