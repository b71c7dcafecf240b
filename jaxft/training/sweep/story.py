"""A sweep from start to result: many heads on the cached features of one frozen body."""

import dataclasses
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np

from jaxft.config import card
from jaxft.config.plain import as_dict
from jaxft.config.settings import Settings
from jaxft.devices import sharding
from jaxft.errors import NonFiniteError, UserError
from jaxft.features import cache
from jaxft.materials import shortage
from jaxft.materials.extraction import body_features
from jaxft.materials.identity import describe_data
from jaxft.materials.materials import Materials
from jaxft.materials.model import open_model
from jaxft.materials.opening import prepare
from jaxft.materials.start_up import start_up
from jaxft.models.variables import Weights
from jaxft.report import sweep as report
from jaxft.runtime import paths
from jaxft.runtime.console import Console
from jaxft.runtime.paths import AnyPath
from jaxft.runtime.signals import told_to_stop
from jaxft.training.cached import features_bytes, memory_bytes, views_of
from jaxft.training.phase_spec import make_spec
from jaxft.training.spec import StepSpec
from jaxft.training.sweep import folder as files
from jaxft.training.sweep import grid as grids
from jaxft.training.sweep import heads as many
from jaxft.training.sweep.folder import Scores
from jaxft.training.sweep.grid import Grid, Point
from jaxft.training.sweep.ranking import ranked
from jaxft.training.train_state import TrainState
from jaxft.workdir import checkpoint
from jaxft.workdir import request as requests

KIND = "sweep"


class Request(NamedTuple):
    """Everything that a sweep is of: its points with their settings, its seeds, where it is from.

    `config` is the card's, as plain data; `resolved` depends on no platform or weights any more.
    """

    config: dict[str, Any]
    resolved: dict[str, Any]
    grid: Grid
    phase: int
    points: list[Point]
    settings: list[Settings]
    seeds: list[int]

    def as_json(self) -> dict[str, Any]:
        """Return what tells one sweep from another."""
        return {"config": self.resolved, "grid": dataclasses.asdict(self.grid)}


class Inputs(NamedTuple):
    """Arrays that all heads share, on every device: training features, labels, validation."""

    features: Any
    labels: Any
    valid: tuple[Any, Any]


def sweep(
    config: Any, grid: Grid, workdir: str | AnyPath, console: Console | None = None
) -> dict[str, Any]:
    """Train a head of every setting on the cached features of a config's first phase; rank them.

    Args:
      config: a ConfigDict with the keys of configs/base.py.
      grid: the values to combine.
      workdir: created if missing; a sweep of the same settings in it is gone on with, or told.
      console: gets the progress; None is silent.

    Returns:
      What `sweep.json` holds.

    Raises:
      UserError: bad config, values, data, weights or workdir; nothing has been written.
      NonFiniteError: no setting has a finite validation loss.
      Interrupted: SIGINT or SIGTERM arrived; the scores of finished programs are kept.
    """
    console, started = console or Console(None), time.perf_counter()
    paths.demand_workdir(workdir)
    request = requested(config, grid, workdir)
    place = paths.of(workdir)
    requests.check(place, request.as_json(), KIND)
    found = files.result(place)
    if found is not None:
        console.say(f"{place} already holds this sweep, finished\n{report.text(found, place)}")
        return found
    with ExitStack() as held:
        stop = held.enter_context(told_to_stop())
        with shortage.told(request.settings[0], "before the first step"):
            materials, weights = prepare(request.settings[0], console, stop, request.phase)
            demand_room(request, materials, weights)
            heads = initial_heads(request, materials)
        paths.make_folder(place)
        held.enter_context(checkpoint.lock(place, console.say))
        about = {**request.as_json(), "data": describe_data(materials.dataset)}
        requests.check(place, about, KIND)
        requests.begin(place, about)
        console.say(in_words(request, materials))
        with shortage.told(
            materials.settings, "in the sweep", spec_of(request, materials, 0).phase
        ):
            scores = trained(request, materials, weights, heads, place)
        order, rows = ranked(request.points, request.seeds, scores)
        if rows[0]["val_loss"] is None:
            raise NonFiniteError("no setting of the sweep has a finite validation loss")
        best = request.points[order[0]].set_in(request.config, request.phase)
        result = {
            "phase": materials.settings.phases[request.phase].name,
            "grid": dataclasses.asdict(request.grid),
            "seeds": request.seeds,
            "validation_examples": len(materials.dataset.valid),
            "seconds": time.perf_counter() - started,
            "settings": rows,
        }
        files.finish(place, card.source(best, told_of(rows)), result)
    console.say(report.text(result, place))
    return result


def requested(config: Any, grid: Grid, workdir: str | AnyPath) -> Request:
    """Read the config and the values to combine.

    Raises:
      UserError: mistakes in them; lists all of one kind.
    """
    plain = grids.with_epochs(as_dict(config), grid.epochs)
    settings, resolved = start_up(plain, workdir)
    index, full = grids.demand_phase(settings), grid.filled(settings)
    points = grids.points(full)
    each = grids.settings_of(resolved, index, points)
    seeds = [settings.seed + number for number in range(full.seeds)]
    return Request(plain, resolved, full, index, points, each, seeds)


def demand_room(request: Request, materials: Materials, weights: Weights) -> None:
    """Raise UserError if the features do not fit into the memory that they may take."""
    size = features_bytes(spec_of(request, materials, 0), weights)
    room = memory_bytes(materials)
    if size > room:
        raise UserError(
            f"The cached features take {size / 2**30:.3g} GiB of each device, and may take "
            f"{room / 2**30:.3g} GiB",
            hint="A sweep streams none from disk; config.data.cache_memory_gb allows more.",
        )


def initial_heads(request: Request, materials: Materials) -> dict[tuple[int, ...], Weights]:
    """Return for each choice of hidden layers the heads that a run of each seed begins with.

    They lie along a first axis, by seed, on the host.
    """
    classes, found = materials.dataset.classes, {}
    for point, settings in zip(request.points, request.settings, strict=True):
        if point.hidden not in found:
            opened = [
                open_model(dataclasses.replace(settings, seed=seed), classes).weights
                for seed in request.seeds
            ]
            found[point.hidden] = many.stacked(
                [sharding.fetch(Weights(*({"head": t["head"]} for t in w))) for w in opened]
            )
    return found


def spec_of(request: Request, materials: Materials, number: int) -> StepSpec:
    """Return the specification of the step of a point's run."""
    settings = request.settings[number]
    model = open_shape(settings, materials)
    own = materials._replace(settings=settings.at_size(materials.image_size), model=model)
    return make_spec(own, request.phase)


def open_shape(settings: Settings, materials: Materials) -> Any:
    """Return the model of a setting: the one that is open, with another head."""
    made = settings.model
    head = materials.model.head.clone(hidden=made.hidden, dropout=made.dropout)
    return dataclasses.replace(materials.model, head=head)


def trained(
    request: Request,
    materials: Materials,
    weights: Weights,
    heads: dict[tuple[int, ...], Weights],
    place: AnyPath,
) -> Scores:
    """Train what is not done yet, program by program; return the scores of all points."""
    examples = len(materials.dataset.valid)
    done = files.done(place, len(request.seeds), examples)
    if done:
        materials.console.say(f"{len(done)} of {len(request.points)} settings are done already")
    mesh = many.mesh_of_heads(materials.mesh)
    inputs: Inputs | None = None
    for hidden, first in heads.items():
        left = [n for n, p in enumerate(request.points) if p.hidden == hidden and n not in done]
        if not left:
            continue
        spec = spec_of(request, materials, left[0])
        inputs = inputs or inputs_of(spec, materials, weights, mesh)
        programs = many.programs(spec, request.settings[left[0]], mesh)
        for numbers in chunks(left, most_at_once(spec, materials, weights, first), mesh.size):
            knobs = many.knobs_of([request.settings[n] for n in numbers], spec)
            states = train(request, materials, spec, programs, (first, knobs), inputs)
            scores = programs.score(states, *inputs.valid)
            both = Scores(*(many.unbatched(found, examples) for found in scores))
            fresh = [i for i, n in enumerate(numbers) if n not in numbers[:i]]
            files.store(place, [numbers[i] for i in fresh], Scores(*(a[fresh] for a in both)))
            done |= {numbers[i]: Scores(*(a[i] for a in both)) for i in fresh}
    return Scores(*(np.stack(a) for a in zip(*(done[n] for n in sorted(done)), strict=True)))


def inputs_of(spec: StepSpec, materials: Materials, weights: Weights, mesh: Any) -> Inputs:
    """Extract the features, or read them from the cache, and put them on every device."""
    there = sharding.replicate(weights, materials.mesh)
    features = cache.whole(views_of(spec, materials, there))
    valid = many.batches(
        body_features(materials, there, "valid"), materials.dataset.valid.labels, spec.batch_size
    )
    found: Inputs = many.place(Inputs(features, materials.dataset.train.labels, valid), mesh)
    return found


def most_at_once(spec: StepSpec, materials: Materials, weights: Weights, first: Weights) -> int:
    """Return the number of settings that one program may hold on each device."""
    seeds = len(next(iter(first.params["head"].values()))["bias"])
    room = memory_bytes(materials) - features_bytes(spec, weights)
    one = Weights(*({"head": _of_seed(tree["head"])} for tree in first))
    return many.most_heads(spec, one, seeds, max(room, 0))


def _of_seed(tree: Any) -> Any:
    return {key: _of_seed(v) if isinstance(v, dict) else v[0] for key, v in tree.items()}


def chunks(numbers: Sequence[int], most: int, devices: int) -> list[list[int]]:
    """Divide points among as few programs as hold `most` of them on each device, all of one size.

    The last is filled up with its last point, which is then trained more than once.
    """
    count = -(-len(numbers) // (most * devices))
    size = -(-len(numbers) // (count * devices)) * devices
    parts = [list(numbers[i : i + size]) for i in range(0, len(numbers), size)]
    return [[*part, *[part[-1]] * (size - len(part))] for part in parts]


def train(
    request: Request,
    materials: Materials,
    spec: StepSpec,
    programs: many.Programs,
    begin: tuple[Weights, many.Knobs],
    inputs: Inputs,
) -> TrainState:
    """Train one program's heads for the whole phase; return their states [seeds, heads].

    Raises:
      Interrupted: a stop was requested.
    """
    mesh = many.mesh_of_heads(materials.mesh)
    first, knobs = many.place(begin[0], mesh), many.place(begin[1], mesh, many.BY_HEAD)
    seeds = many.place(np.asarray(request.seeds, np.int32), mesh)
    states = programs.start(first, knobs)
    heads, epochs = len(knobs.smoothing) * len(request.seeds), sum(spec.phase.cycle_lengths)
    with materials.console.bar(epochs, f"{heads} heads at once", "epoch") as bar:
        for epoch in range(epochs):
            materials.demand_going_on()
            step = many.place(np.int32(epoch * spec.steps_per_epoch), mesh)
            states, losses = programs.epoch(
                states, knobs, inputs.features, inputs.labels, seeds, step
            )
            losses.block_until_ready()
            bar.update()
    return states


def in_words(request: Request, materials: Materials) -> str:
    """Tell the size of a sweep."""
    grid, spec = request.grid, spec_of(request, materials, 0)
    counts = {
        "rates": grid.lr,
        "weight decays": grid.weight_decay,
        "dropouts": grid.dropout,
        "smoothings": grid.smoothing,
        "heads' shapes": grid.hidden,
        "seeds": request.seeds,
    }
    factors = " x ".join(f"{len(v)} {name}" for name, v in counts.items() if len(v) > 1)
    total = len(request.points) * len(request.seeds)
    return (
        f"{total} heads{f' ({factors})' if factors else ''}, phase {spec.phase.name}: "
        f"{sum(spec.phase.cycle_lengths)} epochs of {spec.steps_per_epoch} steps"
    )


def told_of(rows: Sequence[dict[str, Any]]) -> str:
    """Return the docstring of the best config."""
    best = rows[0]
    return (
        f"The best of {len(rows)} settings of a sweep: validation loss {best['val_loss']:.4f} "
        f"+- {best['val_loss_se']:.4f}."
    )
