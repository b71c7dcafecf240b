"""How often "until over-fitting" stops a phase falsely, and how late it stops one that over-fits.

    python bench/overfit_simulation.py --data=DIRECTORY [--out=DIRECTORY] [--kinds=head]
                                       [--sets=garments,scenes,digits] [--draws=200]
                                       [--config.KEY=VALUE ...]

DIRECTORY is of bench/folder_data.py, e.g. with --train=200 --valid=2000 for the head, which then
over-fits in seconds, --train=600 --valid=1000 for the whole network. Trains at 64 px once a set and
kind, in cycles of one epoch that nothing stops: `head`, 60 of the head on cached features; `full`,
two of the head, then 24 of the whole network. Keeps every validation example's loss and hit at
every cycle end in --out (a run that is there is not made again). Then validation sets of 100, 400
and 1,600 images are drawn from those examples, with replacement, and each rule decides on each of
them: `overfit.t` and `overfit.patience`, and a naive rule, the mean loss above the lowest so far
`patience` times. Truth is all examples of the recording. Prints a JSON line for each size and
rule, and one for each size of what one comparison says where no cycle end differs from another.
"""

import argparse
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from choose_epoch import evaluations, rows_of

from jaxft.cli.config_file import load_config
from jaxft.configs import base
from jaxft.recipe.overfit import OverfitSettings, over_fitted, paired_t

CYCLES = {"head": 60, "full": 24}
SIZES = (100, 400, 1600)
TS, PATIENCES = (1.0, 2.0, 3.0), (1, 2, 3)
WINDOW = 10  # cycle ends of a curve without change


class Curve(NamedTuple):
    """Cycle ends of a phase: losses and hits [ends, examples], mean training losses [ends].

    The first may be the best epoch before the phase, with the training loss that it began from.
    """

    losses: np.ndarray
    hits: np.ndarray
    trn: np.ndarray

    def of(self, examples: np.ndarray) -> "Curve":
        """The same ends on these examples alone."""
        return Curve(self.losses[:, examples], self.hits[:, examples], self.trn)


class Decided(NamedTuple):
    """A curve as a run reads it, at every cycle end.

    `best` is the best end up to here (by accuracy, then loss), `t` how much worse this end is than
    the best before it (-inf unless the training loss is lower), `rose` if its mean loss is above
    the lowest before it.
    """

    best: np.ndarray
    t: np.ndarray
    rose: np.ndarray


def record(out: Path, data: Path, kind: str, flags: list[str]) -> None:
    """Train once; writes the cycle ends of the last phase."""
    fixed = [f"--config.data.source=folder:{data}", "--config.data.image_size=64"]
    config = load_config("folder", [*fixed, "--config.overfit.t=1e9", *flags])
    cycles = {"schedule": "sgdr", "cycles": "until_overfit", "max_cycles": CYCLES[kind]}
    head, _, full = config.phases
    if kind == "head":
        config.phases = (base.phase(name="head", inputs="cached", **cycles),)
    else:
        full.update({"max_cycles": CYCLES[kind], "cycle_mult": 1})
        config.phases = (head, full)
    found = evaluations(config, out.with_suffix(""))
    rows = rows_of(out.with_suffix(""))
    before = [i for i, row in enumerate(rows) if row["phase"] != kind]
    ends = list(range(len(before), len(rows)))
    trn = [rows[end]["trn_loss"] for end in ends]
    if before:
        ends.insert(0, [i for i in before if rows[i]["best"]][-1])
        trn.insert(0, rows[before[-1]]["trn_loss"])
    chosen = [found[end] for end in ends]
    hits = [one.probabilities.argmax(1) == one.labels for one in chosen]
    np.savez(out, losses=np.stack([one.losses for one in chosen]), hits=np.stack(hits), trn=trn)


def decide(curve: Curve) -> Decided:
    """Read a curve as a run does, cycle end by cycle end."""
    losses, accuracies = curve.losses.mean(1), curve.hits.mean(1)
    best, ts = [0], [-np.inf]
    for end in range(1, len(losses)):
        before = best[-1]
        falls = curve.trn[end] < curve.trn[before]
        ts.append(paired_t(curve.losses[end], curve.losses[before]) if falls else -np.inf)
        rank, highest = ((accuracies[i], -losses[i]) for i in (end, before))
        best.append(end if rank > highest else before)
    lowest = np.minimum.accumulate(losses)
    rose = np.r_[False, losses[1:] > lowest[:-1]]
    return Decided(np.array(best), np.array(ts), rose)


def stop_of(signs: np.ndarray, patience: int) -> int | None:
    """The cycle end that stops a phase, if one does."""
    settings, told = OverfitSettings(patience=patience), signs.tolist()
    ends = range(len(told))
    return next((end for end in ends if over_fitted(told[: end + 1], settings)), None)


def rules(decided: Decided) -> Iterator[tuple[str, int, int | None]]:
    """Every rule with its patience and the cycle end where it stops."""
    for patience in PATIENCES:
        for t in TS:
            yield f"t={t:g}", patience, stop_of(decided.t > t, patience)
        yield "mean rose", patience, stop_of(decided.rose, patience)


def judge(curve: Curve, better_later: np.ndarray, best: np.ndarray, stop: int | None) -> dict:
    """Value of a decision, by all examples of the recording.

    `false`: a later cycle end's loss is lower than any up to the stop, beyond 2 standard errors.
    `delay`: cycle ends from the lowest loss to a stop that is not false. `lost`: accuracy of the
    end that a run to the last cycle would have kept, less that of the one kept. `saved`: share of
    the cycle ends that come after the stop.
    """
    last = len(curve.trn) - 1
    at = last if stop is None else stop
    lowest = int(curve.losses.mean(1).argmin())
    false = stop is not None and bool(better_later[stop])
    accuracy = curve.hits.mean(1)
    return {
        "stopped": stop is not None,
        "false": false,
        "delay": np.nan if stop is None or false else stop - lowest,
        "lost": accuracy[best[last]] - accuracy[best[at]],
        "saved": 1 - (at + 1) / (last + 1),
    }


def is_better_later(curve: Curve) -> np.ndarray:
    """For every cycle end, whether a later one is significantly better than the best up to it."""
    means, found = curve.losses.mean(1), []
    for end in range(len(means)):
        before, later = means[: end + 1].argmin(), means[end + 1 :]
        after = end + 1 + later.argmin() if len(later) else before
        found.append(paired_t(curve.losses[before], curve.losses[after]) > 2)
    return np.array(found)


def without_change(curve: Curve, random: np.random.Generator) -> Curve:
    """WINDOW cycle ends around the lowest loss, shuffled for every example on its own.

    So that no end differs from another but by chance. The training loss falls all the time.
    """
    first = int(np.clip(curve.losses.mean(1).argmin() - WINDOW // 2, 0, len(curve.trn) - WINDOW))
    window = slice(first, first + WINDOW)
    shape = curve.losses[window].shape
    order = random.permuted(np.broadcast_to(np.arange(WINDOW)[:, None], shape), axis=0)
    losses, hits = (np.take_along_axis(x[window], order, 0) for x in (curve.losses, curve.hits))
    return Curve(losses, hits, -np.arange(float(WINDOW)))


def simulate(curves: dict[str, Curve], size: int, draws: int) -> Iterator[dict[str, Any]]:
    """Lines for validation sets of one size: means over the curves and the draws."""
    random, judged, pairs, stops = np.random.default_rng(0), {}, [], {}
    for curve in curves.values():
        later = is_better_later(curve)
        for _ in range(draws):
            examples = random.integers(0, curve.losses.shape[1], size)
            decided = decide(curve.of(examples))
            for rule, patience, stop in rules(decided):
                found = judge(curve, later, decided.best, stop)
                judged.setdefault((rule, patience), []).append(found)
            null = without_change(curve.of(examples), random)
            pairs.append(paired_t(null.losses[1], null.losses[0]))
            for rule, patience, stop in rules(decide(null)):
                stops.setdefault((rule, patience), []).append(stop is not None)
    for (rule, patience), found in judged.items():
        figures = {key: np.array([one[key] for one in found], float) for key in found[0]}
        told = {key: round(float(np.nanmean(figures[key])), 4) for key in figures}
        told["null"] = round(float(np.mean(stops[rule, patience])), 4)
        yield {"images": size, "rule": rule, "patience": patience, **told}
    signs = {f"t>{t:g}": round(float(np.mean(np.array(pairs) > t)), 4) for t in TS}
    yield {"images": size, "rule": "null, one comparison", **signs}


def run_all() -> None:
    """Read the flags, train, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/overfit_simulation"))
    parser.add_argument("--sets", default="garments,scenes,digits")
    parser.add_argument("--kinds", default="head", help="head: on cached features; full")
    parser.add_argument("--draws", type=int, default=200)
    options, flags = parser.parse_known_args()
    options.out.mkdir(parents=True, exist_ok=True)
    curves = {}
    for name, kind in product(options.sets.split(","), options.kinds.split(",")):
        file = options.out / f"{name}_{kind}.npz"
        if not file.exists():
            record(file, options.data / name, kind, flags)
        curves[file.stem] = curve = Curve(**np.load(file))
        means, hits = curve.losses.mean(1), curve.hits.mean(1)
        told = {"curve": file.stem, "ends": len(means), "lowest_at": int(means.argmin())}
        told |= {"lowest": round(float(means.min()), 4), "last": round(float(means[-1]), 4)}
        told |= {"best_accuracy": round(float(hits.max()), 4), "best_at": int(hits.argmax())}
        print(json.dumps({"bench": "overfit_simulation"} | told), flush=True)
    for size in SIZES:
        for line in simulate(curves, size, options.draws):
            print(json.dumps({"bench": "overfit_simulation"} | line), flush=True)


if __name__ == "__main__":
    run_all()
