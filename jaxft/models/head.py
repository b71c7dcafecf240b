"""A small classifier on pooled features, with dropout keyed by example."""

from typing import NamedTuple, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Key, UInt32

from jaxft.devices import platform
from jaxft.models.norm.layer import BatchNorm
from jaxft.models.varying import alike_varying
from jaxft.recipe.known import is_off

Words = TypeVar("Words", Array, np.ndarray)

GOLDEN = 0x9E3779B9  # 2^32 over the golden ratio: tells the layers apart


def mix(words: Words) -> Words:
    """Scramble 32-bit words, one to one: every input bit flips each output bit half of the time.

    Source: Chris Wellons, hash-prospector (2018), the function named lowbias32 there.
    """
    words = (words ^ (words >> 16)) * np.uint32(0x7FEB352D)
    words = (words ^ (words >> 15)) * np.uint32(0x846CA68B)
    mixed: Words = words ^ (words >> 16)
    return mixed


class Rate(NamedTuple):
    """A dropout rate as a compiled program takes it, so that heads of one program can differ in it.

    The numbers are those that a rate known beforehand stands for, to the last bit.

    Attributes:
      bar: the least word that a feature survives with.
      scale: factor of the features that survive.
    """

    bar: UInt32[Array | np.ndarray, "*heads"]
    scale: Float[Array | np.ndarray, "*heads"]

    @classmethod
    def of(cls, rate: float) -> "Rate":
        """Return the numbers of a rate from 0 to less than 1."""
        kind = jax.dtypes.canonicalize_dtype(float)
        return cls(np.asarray(rate * 2**32, np.uint32), np.asarray(1 / (1 - rate), kind))


def keep_mask(
    keys: Key[Array, " batch"], layer: int, features: int, rate: float | Rate
) -> Bool[Array, "batch features"]:
    """Mask of the features that survive dropout, a function of the example's key and the layer.

    `mix` combines the key's two words, the layer and the feature's number into one word for each
    feature. (Threefry for every feature takes a third of a training step of the head on a CPU.)
    """
    words = jax.random.key_data(keys).astype(jnp.uint32) + jnp.uint32(layer * GOLDEN % 2**32)
    first, second = mix(words[:, :1]), mix(words[:, 1:2])
    numbers = mix(np.arange(features, dtype=np.uint32))  # a constant of the program
    words = mix(numbers ^ first) + second
    kept: Array = words >= (rate.bar if isinstance(rate, Rate) else jnp.uint32(rate * 2**32))
    return kept


def dropout(
    x: Float[Array, "batch features"], keys: Key[Array, " batch"], layer: int, rate: float | Rate
) -> Float[Array, "batch features"]:
    """Set a share `rate` of the features to 0 and scale the others by 1 / (1 - rate)."""
    if is_off(rate):
        return x
    scale = rate.scale.astype(x.dtype) if isinstance(rate, Rate) else 1 / (1 - rate)
    return jnp.where(keep_mask(keys, layer, x.shape[-1], rate), x * scale, 0)


class Head(nn.Module):
    """The classifier on pooled features.

    With hidden layers: BatchNorm, dropout, Linear, ReLU for each of them, then BatchNorm, dropout,
    Linear; without, one Linear and no dropout, as torchvision ends its networks.

    Attributes:
      classes: number of logits.
      hidden: widths of the hidden layers.
      dropout: rates before each linear layer, one more than `hidden`.
    """

    classes: int
    hidden: tuple[int, ...] = (512,)
    dropout: tuple[float | Rate, ...] = (0.25, 0.5)

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch features"],
        train: bool,
        keys: Key[Array, " batch"] | None = None,
        axis_name: str | None = None,
    ) -> Float[Array, "batch classes"]:
        """Compute the logits.

        Args:
          x: pooled features.
          train: BatchNorm uses the batch's statistics and updates the running ones.
          keys: one key for each example, for dropout; None = no dropout.
          axis_name: the mesh axis over which BatchNorm shares its statistics.
        """
        widths = (*self.hidden, self.classes)
        for layer, width in enumerate(widths):
            if layer:
                x = nn.relu(x)
            if self.hidden:
                x = BatchNorm(name=f"bn{layer}")(x, train, axis_name)
                if keys is not None:
                    x = dropout(x, keys, layer, self.dropout[layer])
            x = Linear(width, name=f"linear{layer}")(x)
        return x


def product(
    x: Float[Array, "batch in"], kernel: Float[Array | np.ndarray, "in out"]
) -> Float[Array, "batch out"]:
    """Multiply x by kernel, on a CPU with gradients in the fastest form of its matrix product."""
    if platform.current().name != "cpu":
        return x @ kernel
    return _product(*alike_varying(x, kernel))


@jax.custom_vjp
def _product(x: Array, kernel: Array) -> Array:
    return x @ kernel


def _product_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return x @ kernel, (x, kernel)


def _product_backward(residuals: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    """Compute both products with their operands as they lie in memory, in a fifth less time.

    The small matrices are transposed for it; without the barriers XLA folds that into the product.
    """
    x, kernel = residuals
    dx = lax.optimization_barrier(kernel @ lax.optimization_barrier(dy.T)).T
    return dx, lax.optimization_barrier(x.T) @ dy


_product.defvjp(_product_forward, _product_backward)


class Linear(nn.Module):
    """A linear layer with bias; Kaiming-normal kernel (He et al., 2015), zero bias."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "batch in"]) -> Float[Array, "batch features"]:
        """Multiply x by kernel and add bias."""
        kernel = self.param(
            "kernel",
            nn.initializers.variance_scaling(2.0, "fan_in", "normal"),
            (x.shape[-1], self.features),
        )
        return product(x, kernel) + self.param("bias", nn.initializers.zeros, (self.features,))
