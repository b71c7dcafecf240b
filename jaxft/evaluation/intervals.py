"""Intervals of an accuracy, and a paired test of two sets of predictions on the same examples."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """Ends of a confidence interval."""

    low: float
    high: float


class Difference(NamedTuple):
    """A second accuracy less a first one, on the same examples.

    `only_first` and `only_second` count the examples that one of the two alone has right; `p` is
    the probability of so uneven a pair of counts, or a more uneven one, were both as good.
    """

    accuracy: float
    interval: Interval
    only_first: int
    only_second: int
    p: float


def of_accuracy(right: int, examples: int, confidence: float = CONFIDENCE) -> Interval:
    """Return Wilson's interval of an accuracy.

    Source: Wilson, Probable Inference, the Law of Succession, and Statistical Inference (1927).
    """
    found = stats.binomtest(right, examples).proportion_ci(confidence, method="wilson")
    return Interval(float(found.low), float(found.high))


def of_difference(
    first: Bool[np.ndarray, " examples"],
    second: Bool[np.ndarray, " examples"],
    confidence: float = CONFIDENCE,
) -> Difference:
    """Compare which examples two classifiers have right.

    Sources: the test is McNemar's with the mid-p value, as Fagerland, Lydersen and Laake (2013)
    advise; the interval that of Agresti and Min (2005), with half an example added to each cell.
    """
    only_first = int(np.sum(first & ~second))
    only_second = int(np.sum(second & ~first))
    total, wide = len(first), len(first) + 2.0
    changed = only_first + only_second + 1.0
    shift = (only_second - only_first) / wide
    error = math.sqrt(changed / wide - shift**2) / math.sqrt(wide)
    reach = float(stats.norm.ppf((1 + confidence) / 2)) * error
    interval = Interval(max(shift - reach, -1.0), min(shift + reach, 1.0))
    accuracy = (only_second - only_first) / total
    return Difference(accuracy, interval, only_first, only_second, mid_p(only_first, only_second))


def mid_p(one: int, other: int) -> float:
    """Return McNemar's two-sided mid-p value of two counts of examples that differ."""
    total, least = one + other, min(one, other)
    if one == other:
        return 1.0
    found = 2 * stats.binom.cdf(least, total, 0.5) - stats.binom.pmf(least, total, 0.5)
    return float(min(found, 1.0))


def of_mean(
    values: Float[np.ndarray, " examples"], confidence: float = CONFIDENCE
) -> tuple[float, Interval]:
    """Return the mean of values, and Student's interval of it."""
    mean, count = float(np.mean(values, dtype=np.float64)), len(values)
    if count < 2:
        return mean, Interval(-math.inf, math.inf)
    error = float(np.std(values, ddof=1, dtype=np.float64)) / math.sqrt(count)
    reach = float(stats.t.ppf((1 + confidence) / 2, count - 1)) * error
    return mean, Interval(mean - reach, mean + reach)
