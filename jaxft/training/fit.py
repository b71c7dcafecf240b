"""One phase, from its first step to its last cycle end: inputs, range test, epochs, checkpoints."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from jaxft.config.load import Phase, Settings
from jaxft.data import balance
from jaxft.data.balance import Balance
from jaxft.devices import sharding
from jaxft.errors import Interrupted
from jaxft.evaluation import baselines, metrics
from jaxft.materials import reading, views
from jaxft.materials.reading import Materials, Runner
from jaxft.models import GROUPS, Model
from jaxft.recipe import optim, overfit, schedules
from jaxft.report import tables
from jaxft.runtime.hosts import Ballot
from jaxft.runtime.paths import AnyPath
from jaxft.training import best, range_test, rebase, step
from jaxft.training.best import Best
from jaxft.training.step import StepSpec, TrainState, Weights
from jaxft.workdir import checkpoint
from jaxft.workdir.checkpoint import Checkpoint, Checkpoints

FIRST_STEPS = 10  # of an epoch, whose mean loss shows if unfreezing made it jump


@dataclass
class Cursor:
    """Place that a run has reached; JSON data, stored with every checkpoint.

    `epoch` and `step` count what the phase has finished, `loss_sum`, `first_losses` (of its first
    steps) and `epoch_seconds` belong to the epoch under way, `rows` counts the lines of
    metrics.jsonl, `setup_seconds` adds up what every start took to open data and model, and to
    read images of another size. `best` is the run's best epoch (`best.record`), `phase_best` the
    phase's, `trn_loss_before` the training loss of the last epoch of the phase before. `baselines`
    are the accuracies of simple classifiers, {} where there are none.
    """

    phase: int = 0
    epoch: int = 0
    step: int = 0
    global_step: int = 0
    saves: int = 0
    rows: int = 0
    setup_seconds: float = 0.0
    loss_sum: float = 0.0
    first_losses: list[float] = field(default_factory=list)
    epoch_seconds: float = 0.0
    epoch_wait: float = 0.0
    lr: float | None = None
    lr_rule: str = ""
    lr_reason: str = ""
    cycles: list[dict[str, Any]] = field(default_factory=list)
    baselines: dict[str, float] | None = None
    best: dict[str, Any] | None = None
    phase_best: dict[str, Any] | None = None
    trn_loss_before: float = 0.0
    phases: list[dict[str, Any]] = field(default_factory=list)
    phase_seconds: dict[str, float] = field(
        default_factory=lambda: {"compile": 0.0, "input_wait": 0.0, "total": 0.0}
    )

    def next_phase(self, summary: dict[str, Any]) -> None:
        """Note a finished phase and stand before the next one's first step."""
        self.trn_loss_before = self.cycles[-1]["trn_loss"]
        fresh = Cursor()
        for name in (
            "epoch",
            "step",
            "lr",
            "lr_rule",
            "lr_reason",
            "cycles",
            "phase_best",
            "phase_seconds",
        ):
            setattr(self, name, getattr(fresh, name))
        self.phases.append(summary)
        self.phase += 1


class Progress(NamedTuple):
    """Hand-over of a phase: the weights of all groups on the mesh, and the run's best so far."""

    weights: Weights
    best: Best


@dataclass
class Timer:
    """Seconds that XLA compiled, in all, since this object was made."""

    compile: float = 0.0

    def __post_init__(self) -> None:
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            self.compile += duration_secs


def make_spec(materials: Materials, index: int) -> StepSpec:
    """All that the train step of phase `index` depends on."""
    dataset = materials.dataset
    counts = balance.counts_of(dataset.train.labels, len(dataset.classes))
    spec = spec_of(materials.settings, materials.model, index, len(dataset.train))
    return dataclasses.replace(spec, balance=Balance(materials.settings.data.balance, counts))


def spec_of(settings: Settings, model: Model, index: int, examples: int) -> StepSpec:
    """As `make_spec`, for a number of training examples that need not be there.

    What their classes are is not known then, so nothing is done about skewed ones. Random weights
    are not rebased: with such, BatchNorm is what makes the network train at all.
    """
    phase = settings.phases[index]
    if settings.from_scratch and phase.bn == "rebased":
        phase = dataclasses.replace(phase, bn="train")
    steps = sum(phase.cycle_lengths) * (examples // settings.data.batch_size)
    momentum = schedules.one_cycle_momentum(steps) if phase.schedule == "one_cycle" else None
    return StepSpec(
        model=model,
        phase=phase,
        phase_index=index,
        optimizer=optim.transformation(phase.groups, settings.optimizer, momentum),
        augmentation=settings.augment,
        image_size=phase.image_size,
        batch_size=settings.data.batch_size,
        examples=examples,
        deterministic=settings.deterministic,
        overlap_gradients=settings.overlap_gradients,
        ema_decay=settings.optimizer.ema_decay,
    )


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
    with reading.closing(runner):
        if cursor.lr is None:
            resolve_rate(spec, materials, runner, entry.weights, cursor, workdir)
        assert cursor.lr is not None
        why = f"{cursor.lr_rule}: {cursor.lr_reason}"
        materials.console.say(f"learning rate {cursor.lr:.2e} ({why})")
        state, frozen = step.start(spec, entry.weights)
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
    found = reading.evaluate_weights(materials, weights)
    size = materials.settings.data.image_size
    measured = {"val_loss": found.val_loss, "accuracy": found.accuracy, "image_size": size}
    cursor.best = {**cursor.best, **measured}
    materials.console.say(
        f"the best so far ({best.in_words(cursor.best)}) has a validation loss of "
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
    quiet = materials._replace(console=tables.Console(None))
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
        return reading.image_runner(spec, materials)
    return views.cached_runner(spec, materials, weights)


def _restore_state(restored: Checkpoint, fresh: TrainState, mesh: Mesh) -> TrainState:
    """The saved optimizer state, step and trained groups, in the shape of a fresh state."""
    weights = weights_of(restored.state, fresh.params)
    opt_state = checkpoint.fill(fresh.opt_state, restored.state.get("opt_state", {}))
    average = weights_of(restored.state["average"], fresh.params) if fresh.average else None
    state = TrainState(restored.state["step"], *weights, opt_state, average)
    return sharding.replicate(state, mesh)


def weights_of(tree: Mapping[str, Any], names: Iterable[str] = GROUPS) -> Weights:
    """Some groups' weights from a checkpoint's item, which leaves out what is empty."""
    params, stats = tree["params"], tree.get("batch_stats", {})
    return Weights({n: params[n] for n in names}, {n: stats.get(n, {}) for n in names})


def last_weights(state: Mapping[str, Any]) -> Weights:
    """Weights that validate, from a checkpoint's state: the average, where one is kept."""
    weights = weights_of(state)
    if "average" not in state:
        return weights
    average = weights_of(state["average"], state["average"]["params"])
    return Weights(*({**raw, **mean} for raw, mean in zip(weights, average, strict=True)))


@dataclass
class Loop:
    """The epochs and cycles of one phase."""

    materials: Materials
    spec: StepSpec
    runner: Runner
    frozen: Weights
    cursor: Cursor
    checkpoints: Checkpoints
    workdir: AnyPath
    valid_features: np.ndarray | None
    rates: schedules.Schedule
    clock: Callable[[], tuple[float, float]]

    def __post_init__(self) -> None:
        phase = self.spec.phase
        self.total_steps = sum(phase.cycle_lengths) * self.spec.steps_per_epoch
        self.rate_of_step = self.rates(np.arange(self.total_steps))
        self.table = reading.rates_table(self.spec, self.materials, self.rate_of_step)
        self.seed = reading.seed_of(self.materials)
        self.before = dict(self.cursor.phase_seconds)
        self.frozen_on_host = sharding.fetch(self.frozen)  # once: an epoch's copies leave it out

    def run(self, state: TrainState, kept: Best) -> Progress:
        """All remaining epochs; ends with the weights that the phase hands on."""
        phase, cursor = self.spec.phase, self.cursor
        ends = np.cumsum(phase.cycle_lengths).tolist()
        self.materials.console.say(tables.HEADER)
        ended_by = _ended_by(phase, cursor, self.materials.settings.overfit)
        while ended_by is None:
            state = self.epoch(state, kept)
            weights = step.finish(state, self.frozen)
            try:
                row, evaluation = self.validate(weights, cursor.epoch, ends)
            except Interrupted:
                self.save(state, kept)
                self.checkpoints.wait()
                raise
            step.demand_finite(cursor.step, evaluation.val_loss)
            cursor.epoch += 1
            cursor.loss_sum = cursor.epoch_seconds = cursor.epoch_wait = 0.0
            cursor.first_losses = []
            if cursor.epoch in ends:
                self.cycle_end(row, evaluation, kept)
            kept = self.better(row, evaluation, state, kept)
            ended_by = _ended_by(phase, cursor, self.materials.settings.overfit)
            if ended_by is None:
                self.save(state, kept)
        handed_on = kept.weights if phase.until_overfit else self.on_host(state.weights)
        self._tick()
        cursor.next_phase(self.summary(ended_by))
        # No optimizer state, and the cursor's clock is the next phase's, which has not begun.
        self.checkpoint(dict(handed_on._asdict()), kept)
        return Progress(sharding.replicate(handed_on, self.materials.mesh), kept)

    def on_host(self, trained: Weights) -> Weights:
        """The weights of all groups, of which the trained ones alone are fetched."""
        return step.joined(self.frozen_on_host, sharding.fetch(trained))

    def epoch(self, state: TrainState, kept: Best) -> TrainState:
        """The rest of the epoch under way, with a checkpoint now and then."""
        cursor, spec = self.cursor, self.spec
        end = (cursor.epoch + 1) * spec.steps_per_epoch
        interval = 60 * self.materials.settings.checkpoint_minutes
        done_before = cursor.step % spec.steps_per_epoch
        bar = self.materials.console.bar(
            spec.steps_per_epoch * spec.batch_size,
            f"epoch {cursor.epoch}",
            "img",
            done_before * spec.batch_size,
        )
        with bar:
            while cursor.step < end:
                started, ballot = time.perf_counter(), Ballot(self.materials.stop)

                def sink(
                    number: int, loss: float, started: float = started, ballot: Ballot = ballot
                ) -> bool:
                    step.demand_finite(cursor.step + number, loss)
                    cursor.loss_sum += loss
                    if len(cursor.first_losses) < FIRST_STEPS:
                        cursor.first_losses.append(loss)
                    bar.update(spec.batch_size)
                    bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
                    return not ballot(time.perf_counter() - started >= interval)

                state, done, waited = self.runner(
                    state, self.frozen, self.table, self.seed, cursor.step, end - cursor.step, sink
                )
                cursor.step += done
                cursor.global_step += done
                cursor.epoch_seconds += time.perf_counter() - started
                cursor.epoch_wait += waited
                cursor.phase_seconds["input_wait"] += waited
                if self.materials.stop.is_set() or cursor.step < end:
                    self.save(state, kept)
                if self.materials.stop.is_set():
                    self.checkpoints.wait()
                    raise Interrupted
        return state

    def validate(
        self, weights: Weights, epoch: int, ends: list[int]
    ) -> tuple[dict[str, Any], metrics.Evaluation]:
        """Metrics after an epoch: a row of metrics.jsonl and of the table."""
        materials, cursor, spec = self.materials, self.cursor, self.spec
        evaluation = reading.evaluate_weights(materials, weights, self.valid_features)
        steps = spec.steps_per_epoch
        highest = float(self.rate_of_step[epoch * steps : (epoch + 1) * steps].max())
        row = {
            "phase": spec.phase.name,
            "cycle": int(np.searchsorted(ends, epoch, side="right")),
            "epoch": epoch,
            "step": cursor.step,
            "global_step": cursor.global_step,
            "trn_loss": cursor.loss_sum / steps,
            "first_trn_loss": float(np.mean(cursor.first_losses)),
            "val_loss": evaluation.val_loss,
            "accuracy": evaluation.accuracy,
            "lr": {group: highest * rate for group, rate in spec.phase.groups.items()},
            "images_per_second": steps * spec.batch_size / max(cursor.epoch_seconds, 1e-9),
            "seconds": cursor.epoch_seconds,
            "input_wait": cursor.epoch_wait / max(cursor.epoch_seconds, 1e-9),
        }
        if balance.is_skewed(evaluation.labels):
            row["balanced_accuracy"] = evaluation.balanced_accuracy
        row["best"] = best.better(row, cursor.best, materials.settings.best_by)
        materials.console.say(tables.epoch_line(row))
        tables.append_row(self.workdir / "metrics.jsonl", row)
        cursor.rows += 1
        return row, evaluation

    def cycle_end(self, row: dict[str, Any], evaluation: metrics.Evaluation, kept: Best) -> None:
        """Note a cycle end, and whether it shows over-fitting against the best epoch before it."""
        cursor, signs = self.cursor, False
        if self.spec.phase.until_overfit and cursor.best is not None:
            end = overfit.CycleEnd(row["trn_loss"], evaluation.losses)
            reference = overfit.CycleEnd(self.trn_loss_of_best(cursor.best), kept.losses)
            signs = overfit.signs(end, reference, self.materials.settings.overfit)
        told = {name: row[name] for name in ("trn_loss", "val_loss", "accuracy")}
        cursor.cycles.append({**told, "signs": signs})

    def trn_loss_of_best(self, found: dict[str, Any]) -> float:
        """The training loss that a cycle end's is held against.

        That of a best epoch in an earlier phase is on other inputs, or of a head that had just
        begun: the end of the phase before stands in for it.
        """
        inside = found["phase"] == self.spec.phase.name
        return float(found["trn_loss"]) if inside else self.cursor.trn_loss_before

    def better(
        self, row: dict[str, Any], evaluation: metrics.Evaluation, state: TrainState, kept: Best
    ) -> Best:
        """Return the better of an epoch and the run's best before it; the cursor notes it."""
        cursor = self.cursor
        found = best.record(row, self.spec.phase.image_size)
        if best.better(row, cursor.phase_best, self.materials.settings.best_by):
            cursor.phase_best = found
        if not row["best"]:
            return kept
        cursor.best = found
        return Best(self.on_host(state.weights), evaluation.losses)

    def summary(self, ended_by: str) -> dict[str, Any]:
        """The phase as `summary.json` tells it."""
        cursor, phase = self.cursor, self.spec.phase
        seconds, found = cursor.phase_seconds, cursor.phase_best
        assert found is not None
        rest = seconds["total"] - seconds["compile"] - seconds["input_wait"]
        return {
            "name": phase.name,
            "image_size": phase.image_size,
            "lr": cursor.lr,
            "lr_rule": cursor.lr_rule,
            "lr_reason": cursor.lr_reason,
            "epochs": cursor.epoch,
            "cycles": len(cursor.cycles),
            "best_epoch": found["epoch"],
            "trn_loss": found["trn_loss"],
            "val_loss": found["val_loss"],
            "accuracy": found["accuracy"],
            "ended_by": ended_by,
            "seconds": {**seconds, "compute": max(rest, 0.0)},
        }

    def save(self, state: TrainState, kept: Best) -> None:
        """Checkpoint in the middle of the phase."""
        self._tick()
        tree = {
            **self.on_host(Weights(state.params, state.batch_stats))._asdict(),
            "opt_state": checkpoint.flat(sharding.fetch(state.opt_state)),
            "step": np.asarray(self.cursor.step, np.int32),
        }
        if state.average is not None:
            tree["average"] = sharding.fetch(state.average)._asdict()
        self.checkpoint(tree, kept)

    def checkpoint(self, tree: dict[str, Any], kept: Best) -> None:
        """Write what training goes on from, the best weights so far, and the cursor."""
        self.cursor.saves += 1
        best_tree: dict[str, Any] = dict(kept.weights._asdict())
        if len(kept.losses):
            best_tree["losses"] = kept.losses
        cursor = dataclasses.asdict(self.cursor)
        self.checkpoints.save(self.cursor.saves, Checkpoint(tree, best_tree, cursor))

    def _tick(self) -> None:
        """Bring the cursor's clock up to now."""
        total, compiled = self.clock()
        self.cursor.phase_seconds["total"] = self.before["total"] + total
        self.cursor.phase_seconds["compile"] = self.before["compile"] + compiled


def _ended_by(phase: Phase, cursor: Cursor, settings: overfit.OverfitSettings) -> str | None:
    """Name what ends the phase at this epoch, or None while it goes on."""
    signs = [cycle["signs"] for cycle in cursor.cycles]
    if phase.until_overfit and overfit.over_fitted(signs, settings):
        return "overfit"
    if cursor.epoch < sum(phase.cycle_lengths):
        return None
    return "max_cycles" if phase.until_overfit else "epochs"
