"""Range tests: for each phase the curve, and every rule's rate with its reason."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxft.report.page import chart
from jaxft.report.page.axes import Scale, scale
from jaxft.report.page.chart import Chart, Entry, Mark
from jaxft.report.page.contents import Contents
from jaxft.report.page.text import four, is_number, rate


class Rule(NamedTuple):
    """A rule: its name, rate and reason in words; `chosen` where it set the rate."""

    name: str
    rate: str
    reason: str
    chosen: bool


class RangeTest(NamedTuple):
    """A phase's range test: what was taken and why, the charts, every rule."""

    phase: str
    rate: str
    rule: str
    reason: str
    charts: Sequence[Chart]
    rules: Sequence[Rule]


def range_tests(found: Contents) -> list[RangeTest]:
    """Describe how every phase that has begun got its rate, with the range test if it had one."""
    told = {phase["name"]: _without_test(phase) for phase in found.summary.get("phases", ())}
    for number, (phase, curve) in enumerate(found.curves.items()):
        told[phase] = _with_test(number, phase, curve)
    return [told[name] for name in found.phases if name in told]


def _without_test(phase: Mapping[str, Any]) -> RangeTest:
    rule, reason = (str(phase.get(key, "")) for key in ("lr_rule", "lr_reason"))
    return RangeTest(phase["name"], rate(phase.get("lr")), rule, reason, (), ())


def _with_test(number: int, phase: str, curve: Mapping[str, Any]) -> RangeTest:
    taken = str(curve.get("rule", ""))
    rules = [
        Rule(name, rate(told.get("lr")), str(told.get("reason", "")), name == taken)
        for name, told in curve.get("rules", {}).items()
    ]
    charts = [_losses(number, curve)] if curve.get("rates") else []
    if curve.get("trials"):
        charts.append(_trials(number, curve))
    reason = str(curve.get("reason", ""))
    return RangeTest(phase, rate(curve.get("lr")), taken, reason, charts, rules)


def _losses(number: int, curve: Mapping[str, Any]) -> Chart:
    """Draw the effect of each step's rate on the loss, its trend, and the rules' rates."""
    rates, trend, error = curve["rates"], curve["trend"], curve["error"]
    pairs = zip(curve["losses"], curve["unmoved"], strict=True)
    effect = [moved - unmoved for moved, unmoved in pairs]
    lower = [middle - 2 * spread for middle, spread in zip(trend, error, strict=True)]
    upper = [middle + 2 * spread for middle, spread in zip(trend, error, strict=True)]
    across = _across(curve, rates)
    up = scale(_in_view(curve, lower, upper), chart.BOTTOM, chart.TOP, room=0.15)
    told = [
        (lr, value, f"{value:+.4f} at {rate(lr)}") for lr, value in zip(rates, effect, strict=True)
    ]
    inside = [point for point in told if up.low <= point[1] <= up.high]
    middle = list(zip(rates, trend, [""] * len(trend), strict=True))
    return Chart(
        key=f"range-{number}",
        title="Training loss less that at rate 0",
        told=f"{len(rates)} steps, rates from {rate(rates[0])} to {rate(rates[-1])}",
        x_label="learning rate",
        x_ticks=across.ticks(),
        y_ticks=up.ticks(),
        areas=[chart.area("s1", list(zip(rates, lower, upper, strict=True)), across, up)],
        lines=[
            chart.line("faint", inside, across, up, joined=False),
            chart.line("s1", middle, across, up)._replace(dots=()),
        ],
        marks=_marks(curve, across),
        legend=[
            Entry("faint", "a step"),
            Entry("s1", "trend, 2 standard errors"),
            Entry("kept", "rate taken"),
            Entry("restart", "other rules' rates"),
        ],
    )


def _in_view(
    curve: Mapping[str, Any], lower: Sequence[float], upper: Sequence[float]
) -> list[float]:
    """Values that the chart must show; a loss that explodes leaves it at the top."""
    lowest = min(range(len(lower)), key=lambda step: curve["trend"][step])
    taken = curve.get("lr") or 0.0
    before = [value for lr, value in zip(curve["rates"], upper, strict=True) if lr <= taken]
    return [0.0, lower[lowest], *upper[: lowest + 1], *before]


def _trials(number: int, curve: Mapping[str, Any]) -> Chart:
    """Draw the validation loss that each trial led to; a diverged one has none."""
    rates, losses = curve["trials"]["rates"], curve["trials"]["losses"]
    numbers = [loss if is_number(loss) else math.nan for loss in losses]
    points = [
        (lr, loss, f"validation loss {four(loss)} at {rate(lr)}")
        for lr, loss in zip(rates, numbers, strict=True)
    ]
    across, up = _across(curve, rates), scale(numbers, chart.BOTTOM, chart.TOP)
    return Chart(
        key=f"trials-{number}",
        title="Validation loss after a trial at each rate",
        told=f"{len(rates)} trials; the lowest loss is {four(_least(numbers))}",
        x_label="learning rate",
        x_ticks=across.ticks(),
        y_ticks=up.ticks(),
        lines=[chart.line("s2", points, across, up)],
        marks=_marks({"lr": curve.get("lr")}, across),
        legend=[Entry("s2", "a trial"), Entry("kept", "rate taken")],
    )


def _least(numbers: Sequence[float]) -> float:
    return min((number for number in numbers if math.isfinite(number)), default=math.nan)


def _across(curve: Mapping[str, Any], rates: Sequence[float]) -> Scale:
    taken = [curve["lr"]] if is_number(curve.get("lr")) else []
    return scale([*rates, *taken], chart.LEFT, chart.RIGHT, log=True, room=0.02)


def _marks(curve: Mapping[str, Any], across: Scale) -> list[Mark]:
    """Return a line at each rule's rate, and one at the rate that was taken."""
    others = [
        Mark("restart", across(told["lr"]), f"{name}: {rate(told['lr'])}")
        for name, told in curve.get("rules", {}).items()
        if is_number(told.get("lr")) and name != curve.get("rule")
    ]
    taken = curve.get("lr")
    mine = [Mark("kept", across(taken), f"taken: {rate(taken)}")] if is_number(taken) else []
    return [*(mark for mark in others if chart.LEFT <= mark.x <= chart.RIGHT), *mine]
