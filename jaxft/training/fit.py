"""One phase, from its first step to its last cycle end: inputs, range test, epochs, checkpoints."""

import time

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from jaxft.config.phase import Phase
from jaxft.devices import sharding
from jaxft.evaluation import baselines
from jaxft.evaluation.validate import evaluate_weights
from jaxft.materials import views
from jaxft.materials.materials import Materials
from jaxft.models.variables import Weights
from jaxft.recipe import best_epoch
from jaxft.runtime.console import Console
from jaxft.runtime.paths import AnyPath
from jaxft.runtime.timer import Timer
from jaxft.training import range_test, rebase, runners, train_state
from jaxft.training.cached import cached_runner
from jaxft.training.cursor import Cursor, Progress
from jaxft.training.loop import Loop
from jaxft.training.runners import Runner, image_runner
from jaxft.training.spec import StepSpec, make_spec
from jaxft.training.train_state import TrainState
from jaxft.workdir import checkpoint
from jaxft.workdir.checkpoint import Checkpoint, Checkpoints
from jaxft.workdir.snapshot import weights_of


def resolve_rate(
    spec: StepSpec,
    materials: Materials,
    runner: Runner,
    weights: Weights,
    cursor: Cursor,
    workdir: AnyPath,
) -> None:
    """Set the cursor's rate: found, the phase before's, or as the config says."""
    phase = spec.phase
    if phase.lr == "find":
        curve = range_test.find_rate(spec, materials, runner, weights, workdir)
        cursor.lr, cursor.lr_rule, cursor.lr_reason = curve.lr, curve.rule, curve.reason
    elif phase.lr == "previous":
        before = cursor.phases[-1]
        cursor.lr, cursor.lr_rule = before["lr"], "previous"
        cursor.lr_reason = f"as in phase {before['name']}"
    else:
        cursor.lr, cursor.lr_rule, cursor.lr_reason = float(phase.lr), "config", "set by hand"


def run_phase(
    materials: Materials,
    cursor: Cursor,
    entry: Progress,
    restored: Checkpoint | None,
    checkpoints: Checkpoints,
    workdir: AnyPath,
    timer: Timer,
) -> Progress:
    """Run the cursor's phase, or the rest of it.

    Args:
      materials: with images of the phase's size.
      cursor: where the run is; moved on as the phase proceeds.
      entry: the weights to start or go on from.
      restored: the checkpoint in the middle of this phase to go on from, if any.
      checkpoints, workdir: where to save.
      timer: counts compilation.

    Raises:
      Interrupted: `materials.stop` was set; a checkpoint has been written.
      NonFiniteError: the training loss is infinite or no number.
    """
    phase = materials.settings.phases[cursor.phase]
    spec = make_spec(materials, cursor.phase)
    started, compiled = time.perf_counter(), timer.compile
    materials.console.say(f"\n{phase.name}: {_describe(phase)}{_smoothing_note(spec)}")
    valid_features = None
    if not phase.trains_body:
        valid_features = views.body_features(materials, entry.weights, "valid")
    if cursor.best is not None and cursor.best["image_size"] != phase.image_size:
        entry = reassess(materials, cursor, entry)
    if restored is None:
        entry = entry._replace(weights=rebase.rebase(spec, materials, entry.weights))
    runner = make_runner(spec, materials, entry.weights)
    if phase.inputs == "cached" and cursor.baselines is None:
        assert valid_features is not None
        cursor.baselines = simple_classifiers(materials, entry.weights, valid_features)
    with runners.closing(runner):
        if cursor.lr is None:
            resolve_rate(spec, materials, runner, entry.weights, cursor, workdir)
        assert cursor.lr is not None
        why = f"{cursor.lr_rule}: {cursor.lr_reason}"
        materials.console.say(f"learning rate {cursor.lr:.2e} ({why})")
        state, frozen = train_state.start(spec, entry.weights)
        state = sharding.replicate(state, materials.mesh)
        if restored is not None:
            state = _restore_state(restored, state, materials.mesh)
        loop = Loop(
            materials,
            spec,
            runner,
            frozen,
            cursor,
            checkpoints,
            workdir,
            valid_features,
            rates=phase.rates(cursor.lr, spec.steps_per_epoch),
            clock=lambda: (time.perf_counter() - started, timer.compile - compiled),
        )
        return loop.run(state, entry.best)


def reassess(materials: Materials, cursor: Cursor, entry: Progress) -> Progress:
    """Measure the run's best weights on images of the phase's size, to hold its epochs against.

    Their training loss stays the one that they had: no other has been measured.
    """
    assert cursor.best is not None
    weights = sharding.replicate(entry.best.weights, materials.mesh)
    found = evaluate_weights(materials, weights)
    size = materials.settings.data.image_size
    measured = {"val_loss": found.val_loss, "accuracy": found.accuracy, "image_size": size}
    cursor.best = {**cursor.best, **measured}
    materials.console.say(
        f"the best so far ({best_epoch.in_words(cursor.best)}) has a validation loss of "
        f"{found.val_loss:.4f} and an accuracy of {found.accuracy:.4f} at {size} px"
    )
    return entry._replace(best=entry.best._replace(losses=found.losses))


def simple_classifiers(
    materials: Materials, weights: Weights, valid_features: Float[np.ndarray, "examples features"]
) -> dict[str, float]:
    """Accuracies of simple classifiers on the cached features; {} where they are not measured."""
    train, valid = materials.dataset.train, materials.dataset.valid
    if not baselines.available(train.labels, valid_features.shape[1]):
        return {}
    quiet = materials._replace(console=Console(None))
    features = views.body_features(quiet, weights, "train")
    found = baselines.measure(features, train.labels, valid_features, valid.labels)
    return found._asdict()


def _smoothing_note(spec: StepSpec) -> str:
    """Name what of `config.augment` does act on cached features."""
    smooths = spec.phase.inputs == "cached" and spec.augmentation.label_smoothing > 0
    return ", label smoothing has" if smooths else ""


def _describe(phase: Phase) -> str:
    trains = ", ".join(f"{group} x{rate:.3g}" for group, rate in phase.groups.items())
    note = ""
    if phase.inputs == "cached" and phase.views == 1:
        note = "; augmentation has no effect on cached features"
    elif phase.inputs == "cached":
        note = f", {phase.views} views of each image"
    return f"trains {trains} from {phase.inputs} inputs{note}"


def make_runner(spec: StepSpec, materials: Materials, weights: Weights) -> Runner:
    """Runner of a phase's steps; it may read ahead, to be closed by `inputs.closing`."""
    if spec.phase.inputs == "augmented":
        return image_runner(spec, materials)
    return cached_runner(spec, materials, weights)


def _restore_state(restored: Checkpoint, fresh: TrainState, mesh: Mesh) -> TrainState:
    """The saved optimizer state, step and trained groups, in the shape of a fresh state."""
    weights = weights_of(restored.state, fresh.params)
    opt_state = checkpoint.fill(fresh.opt_state, restored.state.get("opt_state", {}))
    average = weights_of(restored.state["average"], fresh.params) if fresh.average else None
    state = TrainState(restored.state["step"], *weights, opt_state, average)
    return sharding.replicate(state, mesh)
