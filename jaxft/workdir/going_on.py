"""Changes of config with which a run goes on in its workdir; docs/going_on.md states their law.

The last phase may be made longer: the run ends as one that had the longer phase from the start.
After a loss that was not finite the rates of that phase and of later ones may change: the phase
begins again, and the run ends as one that had the new rates from the start.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxft.config.load import from_dict
from jaxft.config.phase import path_of
from jaxft.config.settings import Settings
from jaxft.errors import NonFiniteError
from jaxft.runtime.console import Console
from jaxft.runtime.paths import AnyPath
from jaxft.workdir import checkpoint, cursor, same_config
from jaxft.workdir.config_keys import GOING_ON
from jaxft.workdir.cursor import Cursor
from jaxft.workdir.rows import read_json, read_object, read_rows, write_document

UNFINISHED = ("interrupted", "nonfinite", "failed")  # ends of a start that ended no run
LOWER = 3.0  # a rate that fails is divided by this


class Place(NamedTuple):
    """A run in its workdir, its settings before and now, and the place that it has reached."""

    workdir: AnyPath
    before: Settings
    now: Settings
    reached: Cursor

    @property
    def over(self) -> bool:
        """True where the last phase has ended."""
        return self.reached.phase_index == len(self.before.phases)

    @property
    def over_fitted(self) -> list[str]:
        """Names of the phases that ended by over-fitting."""
        return [told["name"] for told in self.reached.phases if told["ended_by"] == "overfit"]

    @property
    def lack(self) -> str:
        """Say that a last phase which is over cannot go on from its end, "" if it can."""
        there = not self.over or self.reached.back_to in checkpoint.steps(self.workdir)
        return "" if there else "the state at the phase's end is not there"


def check(workdir: AnyPath, plain: dict[str, Any]) -> list[str]:
    """Return a line on each change with which a workdir's run may go on, [] if there is none.

    Raises:
      UserError: the workdir is a file, or the config differs in anything else; lists all of it.
    """
    differing = same_config.changes(workdir, plain)
    if not differing:
        return []
    reached = cursor.newest(workdir)
    if reached is None or not all(map(GOING_ON.fullmatch, differing)):
        same_config.refuse(workdir, differing)
    place = Place(workdir, from_dict(same_config.saved(workdir)), from_dict(plain), reached)
    reasons = {key: _reason(place, key) for key in differing}
    if any(reasons.values()):
        told = {k: f"{line}{reasons[k] and '; '}{reasons[k]}" for k, line in differing.items()}
        same_config.refuse(workdir, told)
    return list(differing.values())


def finished_in_words(workdir: AnyPath, settings: Settings) -> str:
    """Tell that a workdir's run is finished, and the key with which it would go on."""
    told, last = f"{workdir} already holds this run, finished", settings.phases[-1]
    if last.schedule == "one_cycle":
        return told
    flag = f"--config.{path_of(settings.phases, len(settings.phases) - 1)}.{last.counted_by}"
    return f"{told}; with a larger {flag} it goes on"


def note(workdir: AnyPath, changes: Sequence[str], console: Console) -> None:
    """Tell the changes, and mark the summary that is there as one of an unfinished run."""
    for line in changes:
        console.say(f"going on with another config: {line}")
    summary = read_object(workdir / "summary.json") if changes else None
    if summary:
        kept = {key: value for key, value in summary.items() if key != "diverged"}
        write_document(workdir / "summary.json", {**kept, "ended_by": "interrupted"})


def with_advice(
    error: NonFiniteError, workdir: AnyPath, settings: Settings, reached: Cursor
) -> NonFiniteError:
    """Return the error of a loss that is not finite, with the flag that goes on from there."""
    index, rate = reached.phase_index, reached.phase.rate
    phase = settings.phases[index]
    lower = f"{rate / LOWER:.1e}" if rate else "RATE"
    told = f"{error.told} {phase.name}" + (f", at a rate of {rate:.2e}" if rate else "")
    if _has_ended_before(workdir):
        hint = (
            "The run had ended before, so its phase does not begin again. A run from its best "
            f"weights: jaxft train --from={workdir} --phase={phase.name} --workdir=NEW "
            f"--config.phases.{phase.name}.lr={lower}"
        )
    else:
        flag = f"--config.{path_of(settings.phases, index)}.lr={lower}"
        hint = f"The same command with a lower rate begins this phase again: {flag}"
    return NonFiniteError(told, f"{error.report} {hint}".strip())


def _reason(place: Place, key: str) -> str:
    """Say why a key may not change in a run, "" if it may."""
    match = GOING_ON.fullmatch(key)
    assert match is not None
    if match[1] is None:
        return _why_not_patience(place)
    if match[2] == "lr":
        return _why_not_rate(place, int(match[1]))
    return _why_not_length(place, int(match[1]), match[2])


def _why_not_length(place: Place, index: int, key: str) -> str:
    if index < len(place.before.phases) - 1:
        return "only the last phase can be made longer"
    before, now = place.before.phases[index], place.now.phases[index]
    if key != now.counted_by:
        return f"it is {now.counted_by} that makes this phase longer"
    if before.counted_by != now.counted_by or getattr(now, key) < getattr(before, key):
        return "it can be made longer, not shorter"
    if place.reached.phases_begun <= index:
        return ""
    if now.schedule == "one_cycle":
        again = f"jaxft train --from={place.workdir} --phase={now.name}"
        return f"the rate of each of its steps depends on their number; {again} begins a new cycle"
    steps = _steps_per_epoch(place)
    if before.warm_steps(steps) != now.warm_steps(steps):
        return (
            f"its warm-up took {before.warm_steps(steps)} steps, a third of a short phase, and "
            f"would have taken {now.warm_steps(steps)}"
        )
    patience = place.before.overfit.patience
    if now.name in place.over_fitted and place.now.overfit.patience <= patience:
        return f"it ended by over-fitting; --config.overfit.patience={patience + 1} lets it go on"
    return place.lack


def _why_not_patience(place: Place) -> str:
    if place.now.overfit.patience < place.before.overfit.patience:
        return "it can be raised, not lowered"
    earlier = [name for name in place.over_fitted if name != place.before.phases[-1].name]
    return f"phase {earlier[0]} ended by over-fitting before" if earlier else place.lack


def _why_not_rate(place: Place, index: int) -> str:
    summary = read_object(place.workdir / "summary.json") or {}
    found, phases = summary.get("diverged"), place.before.phases
    if not found:
        return "rates stay, unless the loss is no longer finite (exit code 3)"
    diverged = next(i for i, phase in enumerate(phases) if phase.name == found["phase"])
    if index > diverged:
        return ""
    if place.reached.phase_index > index:
        return "this phase is over"
    rate = place.now.phases[index].lr
    if isinstance(rate, str) or (found["lr"] is not None and rate >= found["lr"]):
        return "it should be a number" + (f" below {found['lr']:.3g}" if found["lr"] else "")
    if _has_ended_before(place.workdir):
        return "the run had ended before, so its phase does not begin again"
    back_to = place.reached.back_to
    if back_to and back_to not in checkpoint.steps(place.workdir):
        return "the checkpoint at the phase's begin is not there"
    return ""


def _has_ended_before(workdir: AnyPath) -> bool:
    """Tell if any start of the run came to its end."""
    return any(
        row.get("ended_by", "failed") not in UNFINISHED
        for row in read_rows(workdir / "starts.jsonl")
    )


def _steps_per_epoch(place: Place) -> int:
    examples: int = read_json(place.workdir / "data.json")["train"]
    return examples // place.before.data.batch_size
