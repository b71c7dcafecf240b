"""One phase from start to end: inputs, range test, epochs, checkpoints."""

import time

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from jaxft.config.phase import Phase
from jaxft.devices import sharding
from jaxft.evaluation import baselines
from jaxft.materials import shortage
from jaxft.materials.extraction import body_features
from jaxft.materials.materials import Materials
from jaxft.models.variables import Weights
from jaxft.recipe import best_epoch
from jaxft.report import readiness
from jaxft.report.trackers.tracking import Tracking
from jaxft.runtime.console import Console
from jaxft.runtime.paths import AnyPath
from jaxft.runtime.timer import Timer
from jaxft.training import drift, range_test, rebase, runners, step
from jaxft.training.cached import cached_runner
from jaxft.training.drift import Drift
from jaxft.training.loop import Loop, evaluate_weights, validation_features
from jaxft.training.phase_spec import make_spec
from jaxft.training.runners import Runner, image_runner
from jaxft.training.spec import StepSpec
from jaxft.training.train_state import TrainState
from jaxft.workdir import checkpoint
from jaxft.workdir.cursor import Cursor
from jaxft.workdir.saving import Checkpoints
from jaxft.workdir.snapshot import Best, Snapshot


def run_phase(
    materials: Materials,
    cursor: Cursor,
    entry: Snapshot,
    checkpoints: Checkpoints,
    workdir: AnyPath,
    timer: Timer,
    tracking: Tracking,
) -> Snapshot:
    """Run the cursor's phase, or its remainder.

    Args:
      materials: with images of the phase's size.
      cursor: moves on as the phase proceeds.
      entry: the start or, with `midway`, the point to resume from; weights on the mesh.
      checkpoints, workdir: where to save.
      timer: counts compilation, and tells of it where it takes long.
      tracking: is told of every step and epoch.

    Returns:
      Snapshot for the next phase; weights on the mesh.

    Raises:
      Interrupted: `materials.stop` was set; a checkpoint has been written.
      NonFiniteError: the training loss is infinite or NaN.
      UserError: the device runs out of memory.
    """
    phase = materials.settings.phases[cursor.phase_index]
    spec = make_spec(materials, cursor.phase_index)
    started, compiled = time.perf_counter(), timer.compile
    timer.phase = phase.name
    materials.console.tell(f"\n{phase.name}: {_describe(phase)}{_smoothing_note(spec)}")
    with shortage.told(
        materials.settings, f"in phase {phase.name}", phase, hint=_after_shortage(cursor, workdir)
    ):
        valid_features = None
        if not phase.trains_body:
            valid_features = body_features(materials, entry.weights, "valid")
        if cursor.best is not None and cursor.best["image_size"] != phase.image_size:
            entry = reassess(materials, cursor, entry)
        moving = None
        if phase.trains_body and materials.settings.drift_images:
            moving = open_drift(materials, cursor, entry, workdir)
        moments = rebase.phase_moments(spec, materials)
        entry, distance = begun_with(spec, materials, entry, moments)
        runner = make_runner(spec, materials, entry.weights)
        if phase.inputs == "cached" and cursor.baselines is None:
            assert valid_features is not None
            cursor.baselines = simple_classifiers(materials, entry.weights, valid_features)
        with runners.closing(runner):
            rate = resolve_rate(spec, materials, runner, entry.weights, distance, cursor, workdir)
            state, frozen = begin(spec, entry, materials.mesh)
            loop = Loop(
                materials,
                spec,
                runner,
                frozen,
                cursor,
                checkpoints,
                workdir,
                tracking,
                valid_features,
                None if moving is None else moving.measure,
                rates=phase.rates(rate, spec.steps_per_epoch),
                settle=rebase.make_settle(spec, materials, frozen, moments),
                clock=lambda: (time.perf_counter() - started, timer.compile - compiled),
            )
            return loop.run(state, entry.best)


def begun_with(
    spec: StepSpec, materials: Materials, entry: Snapshot, moments: rebase.Moments
) -> tuple[Snapshot, float | None]:
    """Give a phase that has not begun the statistics of its images; tell how far these are."""
    if entry.midway is not None:
        return entry, None
    weights, distance = rebase.rebase(spec, materials, entry.weights, moments)
    return entry._replace(weights=weights), distance


def open_drift(
    materials: Materials, cursor: Cursor, entry: Snapshot, workdir: AnyPath
) -> Drift | None:
    """Measure how a phase that trains the body begins, or go on with one that has begun."""
    if entry.midway is not None:
        return drift.resumed(materials, cursor, workdir)
    before = materials.settings.phases[: cursor.phase_index]
    quiet = materials._replace(console=Console(None))
    if any(phase.trains_body for phase in before):
        features = validation_features(quiet, entry.weights)
    else:
        features = body_features(quiet, entry.weights, "valid")
    found = drift.begun(materials, cursor, entry, features, workdir)
    materials.console.tell(readiness.of_head(cursor.phase.drift[0]))
    return found


def resolve_rate(
    spec: StepSpec,
    materials: Materials,
    runner: Runner,
    weights: Weights,
    distance: float | None,
    cursor: Cursor,
    workdir: AnyPath,
) -> float:
    """Return the phase's rate: the cursor's; else found, the previous phase's or the config's."""
    here, phase = cursor.phase, spec.phase
    if here.lr is None:
        if phase.lr == "find":
            curve = range_test.find_rate(spec, materials, runner, weights, workdir, distance)
            here.lr, here.lr_rule, here.lr_reason = curve.lr, curve.rule, curve.reason
        elif phase.lr == "previous":
            before = cursor.phases[-1]
            here.lr, here.lr_rule = before["lr"], "previous"
            here.lr_reason = f"as in phase {before['name']}"
        else:
            here.lr, here.lr_rule, here.lr_reason = float(phase.lr), "config", "set by hand"
    assert here.rate is not None
    halved = f"; halved {len(here.rewinds)} times" if here.rewinds else ""
    told = f"learning rate {here.rate:.2e} ({here.lr_rule}: {here.lr_reason}{halved})"
    materials.console.tell(told)
    return here.rate


def begin(spec: StepSpec, entry: Snapshot, mesh: Mesh) -> tuple[TrainState, Weights]:
    """The state to train from, on the mesh, and the frozen groups."""
    state, frozen = step.start(spec, entry.weights)
    if entry.midway is not None:
        done, opt_state, average = entry.midway
        opt_state = checkpoint.fill(state.opt_state, opt_state)
        state = state._replace(step=jnp.int32(done), opt_state=opt_state, average=average)
    return sharding.replicate(state, mesh), frozen


def _after_shortage(cursor: Cursor, workdir: AnyPath) -> str:
    """Advise how to continue a run that ran out of memory in a phase."""
    if cursor.saves == 0:
        return f"{shortage.WHICH_FITS} Nothing is lost: the run had no checkpoint yet."
    begun = cursor.phase.lr is not None
    return (
        f"{shortage.WHICH_FITS} The checkpoints in {workdir} are intact. "
        + ("" if begun else "With more microbatches in this phase the same command resumes. ")
        + "Any other change of the batches changes the numbers and needs a new --workdir; "
        f"--config.init_from={workdir} starts it from these weights."
    )


def reassess(materials: Materials, cursor: Cursor, entry: Snapshot) -> Snapshot:
    """Measure the run's best weights at the phase's image size, for comparison with its epochs.

    Their training loss stays as it was: no other has been measured.
    """
    assert cursor.best is not None
    weights = sharding.replicate(entry.best.weights, materials.mesh)
    found = evaluate_weights(materials, weights)
    size = materials.image_size
    measured = {"val_loss": found.val_loss, "accuracy": found.accuracy, "image_size": size}
    cursor.best = {**cursor.best, **measured}
    cursor.least_loss = None  # those of the other size say nothing here
    materials.console.tell(
        f"the best so far ({best_epoch.in_words(cursor.best)}) has a validation loss of "
        f"{found.val_loss:.4f} and an accuracy of {found.accuracy:.4f} at {size} px"
    )
    best = Best(entry.best.weights, found.losses, found.probabilities)
    return entry._replace(best=best)


def simple_classifiers(
    materials: Materials, weights: Weights, valid_features: Float[np.ndarray, "examples features"]
) -> dict[str, float]:
    """Accuracies of simple classifiers on the cached features; {} where they are not measured."""
    train, valid = materials.dataset.train, materials.dataset.valid
    if not baselines.available(train.labels, valid_features.shape[1]):
        return {}
    quiet = materials._replace(console=Console(None))
    features = body_features(quiet, weights, "train")
    found = baselines.measure(features, train.labels, valid_features, valid.labels)
    return found._asdict()


def _smoothing_note(spec: StepSpec) -> str:
    """Name the part of `config.augment` that acts on cached features."""
    smooths = spec.phase.inputs == "cached" and spec.augmentation.label_smoothing > 0
    if not smooths:
        return ""
    return ", but label smoothing does" if spec.phase.views == 1 else ", with label smoothing"


def _describe(phase: Phase) -> str:
    *others, last = (f"{group} (lr x{rate:.3g})" for group, rate in phase.groups.items())
    if others:
        trains = f"{', '.join(others)} and {last}"
    else:
        trains = last if phase.trains_body else f"the {last}"
    if phase.inputs == "augmented":
        return f"training {trains} on augmented images"
    if phase.views == 1:
        note = "; augmentation has no effect on cached features"
    else:
        note = f", {phase.views} views of each image"
    return f"training {trains} on cached features{note}"


def make_runner(spec: StepSpec, materials: Materials, weights: Weights) -> Runner:
    """Runner of a phase's steps; it may read ahead, to be closed by `runners.closing`."""
    if spec.phase.inputs == "augmented":
        return image_runner(spec, materials, step.make_step)
    return cached_runner(spec, materials, weights)
