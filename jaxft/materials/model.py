"""The model of a run, and the weights that it begins with."""

from typing import Any, NamedTuple

import jax

from jaxft.config.settings import Settings
from jaxft.errors import UserError
from jaxft.models.body import Preprocessing
from jaxft.models.model import Model
from jaxft.models.registry import create
from jaxft.models.variables import GROUPS, Weights
from jaxft.models.weights import healthy, pretrained
from jaxft.models.weights.preprocessing import of_run
from jaxft.runtime import digests, paths
from jaxft.workdir import checkpoint, seal
from jaxft.workdir.rows import read_json
from jaxft.workdir.snapshot import unpack


class Opened(NamedTuple):
    """A model, its initial weights, and their origin (JSON data)."""

    model: Model
    weights: Weights
    origin: dict[str, Any]


def open_model(settings: Settings, classes: tuple[str, ...]) -> Opened:
    """The model with its initial weights: pretrained or random body, and a new head.

    With `init_from` the body, and the head if the classes are the same, come from that run's best
    weights.

    Raises:
      UserError: the weights are missing, or of another architecture; files of that run were
        changed since it began.
    """
    key = jax.random.key(settings.seed)
    if settings.init_from:
        seal.demand(paths.of(settings.init_from))
        model = create_model(settings, len(classes), of_run(paths.of(settings.init_from)))
        saved = unpack(checkpoint.read_newest(paths.of(settings.init_from))).best.weights
        healthy.demand_finite(settings.init_from, digests.flat(saved._asdict()))
        initial = _init_from(settings, model, classes, key, saved)
        digest = digests.digest(saved._asdict())
        return Opened(model, initial, {"init_from": settings.init_from, "digest": digest})
    loaded = pretrained.load(settings.model.name, settings.model.weights)
    if loaded is None:
        model = create_model(settings, len(classes))
        return Opened(model, Weights(*jax.jit(model.init)(key)), {"source": "none"})
    model = create_model(settings, len(classes), loaded.preprocessing)
    initial = _with_new_head(model, key, loaded.params, loaded.stats)
    return Opened(model, initial, loaded.origin)


def _with_new_head(model: Model, key: Any, params: Any, stats: Any) -> Weights:
    head, head_stats = jax.jit(model.init_head)(key)
    return Weights({**params, "head": head}, {**stats, "head": head_stats})


def create_model(settings: Settings, classes: int, expected: Preprocessing | None = None) -> Model:
    """The model of `config.model`; its weights expect images as `expected`, None: the usual."""
    m = settings.model
    return create(
        m.name,
        classes,
        hidden=m.hidden,
        dropout=m.dropout,
        pooling=m.pooling,
        dtype=m.compute_dtype,
        conv=m.conv,
        preprocessing=expected,
    )


def _init_from(
    settings: Settings, model: Model, classes: tuple[str, ...], key: Any, saved: Weights
) -> Weights:
    """The weights saved by another run; a head for other classes is new."""
    source = paths.of(settings.init_from)
    same_classes = read_json(source / "classes.json") == list(classes)
    result, problems = [], []
    shapes = Weights(*jax.eval_shape(model.init, key))
    for kind, wanted, given in zip(Weights._fields, shapes, saved, strict=True):
        tree = {}
        for group in GROUPS if same_classes else GROUPS[:-1]:
            try:
                tree[group] = checkpoint.fill(wanted[group], digests.flat(given[group]))
            except ValueError as error:
                problems += [f"{kind}.{group}.{line}" for line in str(error).split("; ")]
        result.append(tree)
    if problems:
        title = f"The weights of {source} do not fit {settings.model.name}:"
        raise UserError(title, problems, "config.model should be as in that run.")
    return Weights(*result) if same_classes else _with_new_head(model, key, *result)
