"""A study in words and pictures: how long the head trained, and what the run came to."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxft.report.figure import save_figure
from jaxft.runtime import hosts
from jaxft.runtime.clock import clock
from jaxft.runtime.paths import AnyPath
from jaxft.runtime.table import table_lines

COLUMNS = {
    "head epochs": ">11",
    "accuracy": ">17",
    "less the best": ">18",
    "val_loss": ">17",
    "head alone": ">17",
    "head's loss": ">17",
    "CKA late": ">15",
}
Arm = Mapping[str, Any]


def line(row: Mapping[str, Any], number: int, of: int) -> str:
    """Tell of a run that has finished."""
    return (
        f"{number:>3} of {of}: {_epochs(row['head_epochs'])} of the head, seed {row['seed']}: "
        f"accuracy {row['head_accuracy']:.4f} at the unfreezing, {row['accuracy']:.4f} at the end, "
        f"after {clock(row['seconds'])}"
    )


def text(result: Mapping[str, Any], folder: AnyPath) -> str:
    """Return the table of the arms, and the answer."""
    arms, seeds = result["arms"], result["arms"][0]["seeds"]
    lines = table_lines(COLUMNS, map(_cells, arms))
    note = f"means of {seeds} seeds +- standard errors; less the best: 95% intervals (Tukey's)"
    lines += [note if seeds > 1 else "one seed: no errors are known", "", answer(result)]
    return "\n".join([*lines, f"numbers and picture: {folder}/study.json, study.png"])


def _cells(arm: Arm) -> list[str]:
    apart, half = arm["difference"], arm["half_width"]
    less = "" if arm["best"] else f"{apart:+.4f}" + ("" if half is None else f" +- {half:.4f}")
    keys = ("val_loss", "head_accuracy", "head_val_loss")
    return [
        str(arm["head_epochs"]),
        _with_error(arm, "accuracy", 4),
        less,
        *(_with_error(arm, key, 4) for key in keys),
        _with_error(arm, "cka_late", 3) if "cka_late" in arm else "",
    ]


def _with_error(arm: Arm, key: str, digits: int) -> str:
    error = arm.get(f"{key}_se")
    told = f"{arm[key]:.{digits}f}"
    return told if error is None else f"{told} +- {error:.{digits}f}"


def answer(result: Mapping[str, Any]) -> str:
    """Answer in a paragraph: does it matter how long the head trains, and did it over-fit?"""
    arms = result["arms"]
    parts = [_best(arms), _over_fitted(arms), _features(arms)]
    return " ".join(part for part in parts if part)


def _best(arms: Sequence[Arm]) -> str:
    [best] = [arm for arm in arms if arm["best"]]
    others = [arm for arm in arms if not arm["best"]]
    told = f"Runs end best after {_epochs(best['head_epochs'])} of the head ({_accuracy(best)})."
    if not others or best["half_width"] is None:
        return told
    worse = [arm for arm in others if _is_worse(arm)]
    alike = [arm for arm in others if arm not in worse]
    if not worse:
        return f"{told} No other length is worse beyond doubt: it makes no measurable difference."
    told += f" {_listed(worse)} {'is' if len(worse) == 1 else 'are'} worse beyond doubt"
    return f"{told}; {_listed(alike)} may be as good." if alike else f"{told}."


def _over_fitted(arms: Sequence[Arm]) -> str:
    """Say from where on the head over-fits, and what that costs in the end."""
    if arms[0]["over_fitted"] is None:
        return ""
    fitted = [arm for arm in arms if arm["over_fitted"]]
    if not fitted:
        return "The head alone over-fits at none of these lengths."
    costs = [arm for arm in fitted if _is_worse(arm)]
    told = f"After {_listed(fitted)} the head alone has over-fitted"
    if not costs:
        return f"{told}, which costs nothing measurable in the end."
    lost = [f"{-arm['difference']:.4f} after {arm['head_epochs']}" for arm in costs]
    return f"{told}, which costs accuracy in the end: {', '.join(lost)}."


def _is_worse(arm: Arm) -> bool:
    return arm["half_width"] is not None and arm["difference"] + arm["half_width"] < 0


def _features(arms: Sequence[Arm]) -> str:
    """Say how far features moved after the shortest and the longest training of the head."""
    first, last = arms[0], arms[-1]
    if first is last or not all("cka_late" in arm for arm in (first, last)):
        return ""
    told = [f"{arm['cka_late']:.2f} after {_epochs(arm['head_epochs'])}" for arm in (first, last)]
    return f"CKA of the late features with those before the unfreezing: {', '.join(told)}."


def _accuracy(arm: Arm) -> str:
    return f"accuracy {_with_error(arm, 'accuracy', 4)}"


def _epochs(number: int) -> str:
    return f"{number} epoch{'' if number == 1 else 's'}"


def _listed(arms: Sequence[Arm]) -> str:
    numbers = [str(arm["head_epochs"]) for arm in arms]
    if len(numbers) == 1:
        return numbers[0]
    return f"{', '.join(numbers[:-1])} and {numbers[-1]}"


@hosts.first_only
def plot(result: Mapping[str, Any], path: AnyPath) -> None:
    """Draw accuracies, losses, calibration and drift over the head's epochs, seeds as dots."""
    figure = Figure(figsize=(13, 7), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True)
    draw = _drawer(result["arms"], result["runs"])
    draw(panels[0, 0], "validation accuracy at the end", {"accuracy": ""})
    heads = {"head_accuracy": "the head that was trained", "refitted_before": "one refitted"}
    draw(panels[0, 1], "validation accuracy at the unfreezing", heads)
    losses = {"val_loss": "at the end", "head_val_loss": "at the unfreezing"}
    draw(panels[0, 2], "validation loss, nats", {**losses, "head_trn_loss": "training, the head's"})
    draw(panels[1, 0], "CKA with the features before", {"cka_early": "early", "cka_late": "late"})
    draw(panels[1, 1], "gradient that enters the body", {"gradient_norm": ""})
    errors = {"calibration_error": "at the end", "head_calibration_error": "at the unfreezing"}
    draw(panels[1, 2], "calibration error", errors)
    for axes in (panels[0, 2], panels[1, 1]):
        axes.set(yscale="log")
    for axes in panels[1]:
        axes.set(xlabel="epochs of the head")
    save_figure(figure, path)


def _drawer(
    arms: Sequence[Arm], runs: Sequence[Mapping[str, Any]]
) -> Callable[[Axes, str, Mapping[str, str]], None]:
    """Return a function that draws a panel: its title, and figures by key, each with its label."""
    lengths = [arm["head_epochs"] for arm in arms]
    place = {length: number for number, length in enumerate(lengths)}

    def draw(axes: Axes, title: str, keys: Mapping[str, str]) -> None:
        for number, (key, label) in enumerate(keys.items()):
            known = [arm for arm in arms if key in arm]
            x = [place[arm["head_epochs"]] for arm in known]
            errors = [arm[f"{key}_se"] or 0.0 for arm in known]
            colour = f"C{number}"
            axes.errorbar(
                x, [a[key] for a in known], errors, fmt="o-", ms=4, capsize=3, color=colour,
                label=label,
            )  # fmt: skip
            dots = [run for run in runs if run[key] is not None]
            axes.scatter(
                [place[run["head_epochs"]] for run in dots],
                [run[key] for run in dots],
                s=9,
                alpha=0.5,
                color=colour,
            )
        axes.set_xticks(range(len(lengths)), [str(length) for length in lengths])
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.3)
        if len(keys) > 1:
            axes.legend(fontsize=8)

    return draw
