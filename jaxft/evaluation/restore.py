"""Restore the weights of a finished or running run."""

import json
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxft.augment.view import evaluate_view, network_input
from jaxft.config import load
from jaxft.config.settings import Settings
from jaxft.data.images.sizing import canvas_size
from jaxft.errors import UserError
from jaxft.materials.model import create_model
from jaxft.models.body import Preprocessing
from jaxft.models.variables import Weights, param_dtype
from jaxft.models.weights.preprocessing import of_run
from jaxft.runtime import paths
from jaxft.runtime.paths import AnyPath
from jaxft.runtime.set_up import set_up
from jaxft.workdir import checkpoint, seal
from jaxft.workdir.config_keys import with_free_keys
from jaxft.workdir.snapshot import unpack

Apply = Callable[[Array | np.ndarray], Float[Array, "batch classes"]]

# jax.image.resize's names; both cubics are Keys' with a = -0.5.
JAX_METHODS = {"bilinear": "linear", "bicubic": "cubic"}


class Restored(NamedTuple):
    """A run's weights, on the host, and what it takes to use them.

    `workdir` is where they come from, `expected` what images they take.
    """

    workdir: AnyPath
    settings: Settings
    classes: tuple[str, ...]
    expected: Preprocessing
    weights: Weights


def read_run(workdir: str | AnyPath, which: str = "best") -> Restored:
    """Weights of a run's newest whole checkpoint, and the process set up to use them.

    Args:
      workdir: of the run.
      which: `best` (what the run ends with) or `last` (the latest).

    Raises:
      UserError: no run there, or no whole checkpoint.
    """
    settings, classes, expected = read_workdir(workdir)
    set_up(settings.cache_dir)
    weights = read_weights(workdir, which)
    return Restored(paths.of(workdir), settings, classes, expected, weights)


def apply_of(restored: Restored) -> Apply:
    """Return a jitted function from images to probabilities.

    Its images are square views in RGB, uint8 [B, S, S, 3]. They are shrunk, with antialiasing, to
    the run's canvas if they are larger, and normalised.
    """
    settings, weights = restored.settings, restored.weights
    model = create_model(settings, len(restored.classes), restored.expected)

    @jax.jit
    def apply(images: Array) -> Array:
        _demand_views(images)
        size = settings.phases[-1].image_size
        canvas = _shrink(images, canvas_size(size), settings.data.interpolation)
        view = evaluate_view(canvas, size)
        dtype = param_dtype(weights.params)
        normalised = network_input(view, model.preprocessing, dtype)
        features, _ = model.features(weights.params, weights.batch_stats, normalised)
        logits, _ = model.classify(weights.params, weights.batch_stats, features)
        return jax.nn.softmax(logits)

    return apply


def _demand_views(images: Array) -> None:
    """Raise UserError where `apply` is given anything but square views."""
    shape = images.shape
    if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3 or images.dtype != jnp.uint8:
        raise UserError(
            f"apply was given {images.dtype} {list(shape)}",
            hint="It takes square RGB images, uint8 [B, S, S, 3] from 0 to 255; predict takes "
            "files, Pillow's images and arrays of any size.",
        )


def _shrink(images: Array, side: int, interpolation: str) -> Array:
    """Square images no larger than `side`, resized with antialiasing as files are."""
    if images.shape[1] <= side:
        return images
    shape = (images.shape[0], side, side, 3)
    method = JAX_METHODS[interpolation]
    smaller = jax.image.resize(images.astype(jnp.float32), shape, method, antialias=True)
    return jnp.clip(jnp.round(smaller), 0, 255).astype(jnp.uint8)


def read_weights(workdir: str | AnyPath, which: str) -> Weights:
    """`best` or `last` weights, on the host.

    Raises:
      UserError: no such kind, or no whole checkpoint.
    """
    if which not in ("best", "last"):
        raise UserError(f"No weights are called {which!r}", hint="The weights are: best, last.")
    saved = unpack(checkpoint.read_newest(workdir))
    return saved.best.weights if which == "best" else saved.last


def read_workdir(
    workdir: str | AnyPath,
) -> tuple[Settings, tuple[str, ...], Preprocessing]:
    """The settings and classes of a workdir's run, and the images that its weights expect.

    Raises:
      UserError: it holds no run, or files that were changed since the run began.
    """
    paths.demand_workdir(workdir)
    paths.demand(workdir)
    workdir = paths.of(workdir)
    seal.demand(workdir)
    try:
        plain = json.loads(paths.read(workdir / "config.json"))
        classes = json.loads(paths.read(workdir / "classes.json"))
        if not isinstance(plain, dict) or not isinstance(classes, list):
            raise ValueError
    except (OSError, ValueError):
        raise UserError(
            f"{workdir} holds no run", hint="Give --workdir=DIR, where `jaxft train` wrote one."
        ) from None
    return load.from_dict(with_free_keys(plain)), tuple(classes), of_run(workdir)
