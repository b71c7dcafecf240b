"""The epochs and cycles of a phase, with their checkpoints."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxft.data import balance
from jaxft.devices import sharding
from jaxft.errors import Interrupted, NonFiniteError
from jaxft.evaluation import metrics
from jaxft.evaluation.validate import score
from jaxft.materials.extraction import extract
from jaxft.materials.materials import Materials
from jaxft.models.variables import Weights
from jaxft.recipe import best_epoch, overfit, schedules
from jaxft.report import tables
from jaxft.report.trackers.tracking import Tracking
from jaxft.runtime import digests
from jaxft.runtime.ballot import Ballot
from jaxft.runtime.paths import AnyPath
from jaxft.training import cycle_ends, guard, step_losses, train_state
from jaxft.training.phase_end import ended, summary
from jaxft.training.runners import Runner, rates_table
from jaxft.training.spec import StepSpec
from jaxft.training.train_state import Settle, TrainState
from jaxft.workdir.cursor import Cursor
from jaxft.workdir.rows import append_row
from jaxft.workdir.saving import Checkpoints
from jaxft.workdir.snapshot import Best, Midway, Snapshot, pack


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
    tracking: Tracking
    valid_features: np.ndarray | None
    drift: Callable[..., dict[str, Any]] | None  # of weights, metrics and features of validation
    rates: schedules.Schedule
    settle: Settle
    clock: Callable[[], tuple[float, float]]

    def __post_init__(self) -> None:
        self.rate_of_step = self.rates(np.arange(self.spec.total_steps))
        self.losses = step_losses.StepLosses(self.materials, self.spec, self.cursor, self.track)
        self.table = rates_table(self.spec, self.materials, self.rate_of_step)
        self.seed = self.materials.seed()
        self.before = dict(self.cursor.phase.seconds)
        self.frozen_on_host = sharding.fetch(self.frozen)  # once: an epoch's copies leave it out

    def run(self, state: TrainState, kept: Best) -> Snapshot:
        """Run all remaining epochs; return the weights for the next phase."""
        phase, cursor = self.spec.phase, self.cursor
        ends = np.cumsum(phase.cycle_lengths).tolist()
        self.materials.console.say(tables.HEADER)
        ended_by = ended(phase, cursor, self.materials.settings.overfit)
        last = cursor.phase_index == len(self.materials.settings.phases) - 1
        while ended_by is None:
            trained = self.epoch(state, kept)
            try:
                state = self.settle(trained, cursor.phase.step)
                weights = train_state.finish(state, self.frozen)
                evaluation, moved = self.validate(weights, cursor.phase.epoch + 1 in ends)
            except Interrupted:
                self.save(trained, kept)
                self.wait()
                raise
            row = self.note(evaluation, cursor.phase.epoch, ends)
            self.demand_finite(evaluation)
            cursor.phase.next_epoch()
            if cursor.phase.epoch in ends:
                self.cycle_end(row, evaluation, kept)
                if moved is not None:
                    cursor.phase.drift.append({"epoch": cursor.phase.epoch, **moved})
                cycle_ends.keep(self.materials, cursor, self.workdir, state, self.on_host)
            kept = self.better(row, evaluation, state, kept)
            ended_by = ended(phase, cursor, self.materials.settings.overfit)
            if ended_by is None or last:
                self.save(state, kept)
        handed_on = kept.weights if phase.until_overfit else self.on_host(state.weights)
        self._tick()
        # The next checkpoint is where the next phase begins; a longer last phase goes on from here.
        told = summary(self.spec, cursor, ended_by)
        cursor.next_phase(told, cursor.saves if last else cursor.saves + 1)
        # No optimizer state, and the cursor's clock is the next phase's, which has not begun.
        self.checkpoint(Snapshot(handed_on, kept))
        return Snapshot(sharding.replicate(handed_on, self.materials.mesh), kept)

    def on_host(self, trained: Weights) -> Weights:
        """Return the weights of all groups; only the trained ones are fetched."""
        return train_state.joined(self.frozen_on_host, sharding.fetch(trained))

    def epoch(self, state: TrainState, kept: Best) -> TrainState:
        """Run the rest of the current epoch, with a checkpoint now and then."""
        cursor, spec = self.cursor, self.spec
        end = (cursor.phase.epoch + 1) * spec.steps_per_epoch
        interval = 60 * self.materials.settings.checkpoint_minutes
        done_before = cursor.phase.step % spec.steps_per_epoch
        bar = self.materials.console.bar(
            spec.steps_per_epoch * spec.batch_size,
            f"epoch {cursor.phase.epoch}",
            "img",
            done_before * spec.batch_size,
        )
        with bar:
            while cursor.phase.step < end:
                started, ballot = time.perf_counter(), Ballot(self.materials.stop)

                def sink(
                    number: int, loss: float, started: float = started, ballot: Ballot = ballot
                ) -> bool:
                    self.losses.take(number, loss)
                    bar.update(spec.batch_size)
                    bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
                    due = time.perf_counter() - started >= interval and not self.checkpoints.busy
                    return not ballot(due or self.losses.sick is not None)

                state, done, waited = self.runner(
                    state,
                    self.frozen,
                    self.table,
                    self.seed,
                    cursor.phase.step,
                    end - cursor.phase.step,
                    sink,
                )
                cursor.phase.step += done
                cursor.global_step += done
                cursor.phase.epoch_seconds += time.perf_counter() - started
                cursor.phase.epoch_wait += waited
                cursor.phase.seconds["input_wait"] += waited
                stopped = self.materials.stop.is_set() or self.losses.sick is not None
                if stopped or cursor.phase.step < end:
                    self.save(state, kept)
                if stopped:
                    self.wait()
                    raise self.losses.sick or Interrupted
        self.losses.demand_some()
        return state

    def demand_finite(self, evaluation: metrics.Evaluation) -> None:
        """Raise NonFiniteError, with the images, for a validation loss that is not finite."""
        try:
            step_losses.demand_finite(self.cursor.phase.step, evaluation.val_loss)
        except NonFiniteError as error:
            names = self.materials.dataset.valid.names
            sick = np.flatnonzero(~np.isfinite(evaluation.losses))
            found = NonFiniteError(f"after validation {error.told}")
            found.examples = tuple(names[number] for number in sick)
            raise found from None

    def track(self, number: int, loss: float) -> None:
        """Tell the trackers of a step, by its number since the cursor last moved."""
        cursor = self.cursor
        rate = float(self.rate_of_step[cursor.phase.step + number])
        done = cursor.global_step + number + 1
        self.tracking.step(done, loss, rate, self.spec.phase.groups)

    def validate(
        self, weights: Weights, at_end: bool
    ) -> tuple[metrics.Evaluation, dict[str, Any] | None]:
        """Metrics after an epoch and, at the end of a cycle, how far the body's features moved.

        Changes nothing: a request to stop may interrupt it where JAX traces.
        """
        features = self.valid_features
        if features is None:
            features = validation_features(self.materials, weights)
        evaluation = evaluate_weights(self.materials, weights, features)
        if not at_end or self.drift is None or not np.isfinite(evaluation.val_loss):
            return evaluation, None
        return evaluation, self.drift(weights, evaluation, features)

    def note(self, evaluation: metrics.Evaluation, epoch: int, ends: list[int]) -> dict[str, Any]:
        """Return the row of an epoch, for metrics.jsonl, the table and the cursor, which get it."""
        materials, cursor, spec = self.materials, self.cursor, self.spec
        steps = spec.steps_per_epoch
        highest = float(self.rate_of_step[epoch * steps : (epoch + 1) * steps].max())
        row = {
            "phase": spec.phase.name,
            "cycle": int(np.searchsorted(ends, epoch, side="right")),
            "epoch": epoch,
            "step": cursor.phase.step,
            "global_step": cursor.global_step,
            "trn_loss": cursor.phase.loss_sum / (steps - cursor.phase.epoch_skipped),
            "first_trn_loss": float(np.mean(cursor.phase.first_losses)),
            "val_loss": evaluation.val_loss,
            "accuracy": evaluation.accuracy,
            "lr": {group: highest * rate for group, rate in spec.phase.groups.items()},
            "images_per_second": steps * spec.batch_size / max(cursor.phase.epoch_seconds, 1e-9),
            "seconds": cursor.phase.epoch_seconds,
            "input_wait": cursor.phase.epoch_wait / max(cursor.phase.epoch_seconds, 1e-9),
        }
        if spec.skips_nonfinite:
            row["skipped"] = cursor.phase.epoch_skipped
        if balance.is_skewed(evaluation.labels):
            row["balanced_accuracy"] = evaluation.balanced_accuracy
        row["best"] = best_epoch.better(row, cursor.best, materials.settings.best_by)
        materials.console.say(tables.epoch_line(row))
        append_row(self.workdir / "metrics.jsonl", row)
        self.tracking.epoch(row)
        cursor.rows += 1
        cursor.table.append(row)
        least = evaluation.val_loss if cursor.least_loss is None else cursor.least_loss
        cursor.least_loss = min(evaluation.val_loss, least)
        return row

    def cycle_end(self, row: dict[str, Any], evaluation: metrics.Evaluation, kept: Best) -> None:
        """Note a cycle end, and whether it shows over-fitting against the best epoch before it."""
        cursor, signs = self.cursor, False
        if self.spec.phase.until_overfit and cursor.best is not None:
            end = overfit.CycleEnd(row["trn_loss"], evaluation.losses)
            reference = overfit.CycleEnd(self.trn_loss_of_best(cursor.best), kept.losses)
            signs = overfit.signs(end, reference, self.materials.settings.overfit)
        told = {name: row[name] for name in ("trn_loss", "val_loss", "accuracy")}
        cursor.phase.cycles.append({**told, "signs": signs})

    def trn_loss_of_best(self, found: dict[str, Any]) -> float:
        """Training loss that a cycle end's is compared with.

        A best epoch of an earlier phase had other inputs, or a head that had just begun: the end of
        the previous phase replaces it.
        """
        inside = found["phase"] == self.spec.phase.name
        return float(found["trn_loss"]) if inside else self.cursor.trn_loss_before

    def better(
        self, row: dict[str, Any], evaluation: metrics.Evaluation, state: TrainState, kept: Best
    ) -> Best:
        """Return the better of an epoch and the run's best so far; note it in the cursor."""
        cursor = self.cursor
        found = best_epoch.record(row, self.spec.phase.image_size)
        if best_epoch.better(row, cursor.phase.best, self.materials.settings.best_by):
            cursor.phase.best = found
        if not row["best"]:
            return kept
        cursor.best = found
        weights = self.on_host(state.weights)
        return Best(weights, evaluation.losses, evaluation.probabilities)

    def save(self, state: TrainState, kept: Best) -> None:
        """Checkpoint in the middle of the phase."""
        self._tick()
        with self.cursor.saving():
            midway = Midway(
                step=self.cursor.phase.step,
                opt_state=digests.flat(sharding.fetch(state.opt_state)),
                average=None if state.average is None else sharding.fetch(state.average),
            )
            weights = self.on_host(Weights(state.params, state.batch_stats))
        guard.demand_finite(weights, self.spec.phase.groups, self.cursor.phase.step)
        self.checkpoint(Snapshot(weights, kept, midway))

    def checkpoint(self, snapshot: Snapshot) -> None:
        """Save the state to resume from, the best weights so far, and the cursor."""
        with self.cursor.saving():
            self.cursor.saves += 1
            self.checkpoints.save(self.cursor.saves, pack(snapshot, self.cursor))

    def wait(self) -> None:
        """Wait until what was saved is on the disk."""
        with self.cursor.saving():
            self.checkpoints.wait()

    def _tick(self) -> None:
        """Bring the cursor's clock up to now."""
        total, compiled = self.clock()
        self.cursor.phase.seconds["total"] = self.before["total"] + total
        self.cursor.phase.seconds["compile"] = self.before["compile"] + compiled


def validation_features(materials: Materials, weights: Weights) -> np.ndarray:
    """The body's features of the validation split."""
    return extract(materials, weights, materials.valid_images, "validating")


def evaluate_weights(
    materials: Materials, weights: Weights, valid_features: np.ndarray | None = None
) -> metrics.Evaluation:
    """Metrics on the validation split, from `valid_features` if they are there."""
    if valid_features is None:
        valid_features = validation_features(materials, weights)
    return score(materials, weights, valid_features)
