"""Over-fitting: cycle ends compared with the best epoch, by paired per-example losses."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class OverfitSettings:
    """Settings of `config.overfit`: the least t, and the consecutive cycle ends that show it."""

    t: float = 2.0
    patience: int = 2

    def problems(self) -> Iterator[str]:
        """Yield a message for each value that makes no sense."""
        if not self.patience >= 1:
            yield "overfit.patience should be 1 or more"


@dataclass(frozen=True)
class CycleEnd:
    """Losses at the end of a cycle, or of the best epoch to compare it with.

    `trn_loss` is the mean training loss of the epoch, `losses` the validation loss of every
    example, in the data set's order.
    """

    trn_loss: float
    losses: Float[np.ndarray, " examples"]

    @property
    def val_loss(self) -> float:
        """Mean validation loss."""
        return float(np.mean(self.losses, dtype=np.float64))


def paired_t(losses: Float[np.ndarray, " examples"], best: Float[np.ndarray, " examples"]) -> float:
    """Student's t of the mean rise over `best`, example by example; positive is worse.

    Source: the paired t-test. A constant difference gives infinity with its sign, or 0.
    """
    rise = np.asarray(losses, np.float64) - np.asarray(best, np.float64)
    error = float(np.std(rise, ddof=1)) / math.sqrt(len(rise)) if len(rise) > 1 else 0.0
    mean = float(np.mean(rise))
    if error == 0.0:
        return 0.0 if mean == 0.0 else math.copysign(math.inf, mean)
    return mean / error


def signs(end: CycleEnd, best: CycleEnd, settings: OverfitSettings) -> bool:
    """Tell whether this cycle end shows over-fitting against the best one.

    It does if the validation loss is significantly higher while the training loss is lower.
    """
    return paired_t(end.losses, best.losses) > settings.t and end.trn_loss < best.trn_loss


def over_fitted(recent: Sequence[bool], settings: OverfitSettings) -> bool:
    """Tell whether the last `patience` cycle ends all showed over-fitting."""
    last = list(recent)[-settings.patience :]
    return len(last) == settings.patience and all(last)
