"""The head of the page: a run's figures, and its verdicts in words."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxft.evaluation import baselines
from jaxft.recipe import best_epoch
from jaxft.report import bottleneck
from jaxft.report.page.contents import Contents
from jaxft.report.page.text import count, duration, four, is_number

SAME = 5e-5  # accuracies that are this close are written alike


class Figure(NamedTuple):
    """A figure of the head: its name, its value, and a word on it."""

    name: str
    value: str
    note: str


def figures(found: Contents) -> list[Figure]:
    """Return accuracy, loss, the epoch they belong to, and the time; those that are known."""
    best, summary = found.best, found.summary
    shown = []
    if best:
        by = f"the best by {summary['best_by']}" if summary.get("best_by") else "the best so far"
        shown += [
            Figure("validation accuracy", four(best.get("accuracy")), _interval(found)),
            Figure("validation loss", four(best.get("val_loss")), "nats an image"),
            Figure("weights kept", best_epoch.in_words(best), by),
        ]
    if is_number(summary.get("seconds")):
        starts = f"in {len(found.starts)} starts" if len(found.starts) > 1 else ""
        shown.append(Figure("time", duration(summary["seconds"]), starts))
    return shown


def _interval(found: Contents) -> str:
    """Write the accuracy's interval where the scores are of the same weights and images."""
    scores, accuracy = found.scores, found.best.get("accuracy")
    ends = scores.get("accuracy_interval")
    same = is_number(accuracy) and abs(scores.get("accuracy", math.inf) - accuracy) < SAME
    if not ends or not same or scores.get("split") != "valid":
        return ""
    return f"95% interval {four(ends[0])} to {four(ends[1])}"


def subtitle(found: Contents) -> str:
    """Tell the network and the data in a line."""
    model, data = found.config.get("model", {}), found.config.get("data", {})
    classes = found.data.get("classes", ())
    parts = [
        str(model.get("name", "")),
        str(data.get("source", "")),
        f"{len(classes)} classes" if classes else "",
        f"{count(found.data['train'])} training images" if "train" in found.data else "",
        f"{count(found.data['valid'])} validation images" if "valid" in found.data else "",
    ]
    return ", ".join(filter(None, parts))


def verdicts(found: Contents) -> list[str]:
    """Say what the figures mean, a sentence or two each."""
    summary = found.summary
    told = [_state(found)]
    if simple := summary.get("baselines"):
        told.append(_beside(simple, summary.get("accuracy")))
    if summary.get("advice"):
        told.append(str(summary["advice"]))
    if wait := summary.get("bottleneck"):
        words = bottleneck.in_words(wait)
        told.append(f"{words[0].upper()}{words[1:]}.")
    return told


def _state(found: Contents) -> str:
    """Tell whether the run has finished, and what ended it."""
    summary, rows = found.summary, found.rows
    ended = summary.get("ended_by")
    done = len(summary.get("phases", ()))
    if ended == "nonfinite":
        return "The loss was no longer finite, and the run ended. A lower learning rate may help."
    if ended == "interrupted":
        return f"The run was interrupted in phase {done + 1} of {len(found.phases)}."
    if ended:
        return f"The run has finished all of its {done} phases."
    if rows:
        return (
            f"The run is under way or was killed; its last epoch was in phase {rows[-1]['phase']}."
        )
    return "The run has finished no epoch yet."


def _beside(simple: Mapping[str, float], accuracy: Any) -> str:
    """Compare the network with simple classifiers on the features that its head started with."""
    words = baselines.in_words(simple)
    told = f"{words[0].upper()}{words[1:]}"
    if not is_number(accuracy):
        return f"{told}."
    if accuracy > max(simple.values()):
        return f"{told}. The network beats both."
    return f"{told}. The network does not beat both, so its training added little."
