"""Learning-rate schedules: pure functions from step to learning rate.

Each takes an int, a NumPy array (computed in float64) or a traced JAX value.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Schedule = Callable[[Any], Any]


def constant(lr: float) -> Schedule:
    """Keep the same learning rate at every step."""

    def schedule(step: Any) -> Any:
        return lr + 0.0 * _array(step)

    return schedule


def cycle_lengths(cycles: int, first: int, mult: int) -> tuple[int, ...]:
    """Lengths of `cycles` warm-restart cycles: first, first x mult, first x mult^2, ...

    Source: Loshchilov and Hutter, SGDR (2017): T_0 = first, T_mult = mult; mult 1 is legal.
    """
    return tuple(first * mult**cycle for cycle in range(cycles))


def sgdr(lr: float, cycle_steps: Sequence[int]) -> Schedule:
    """Cosine annealing with warm restarts, per step: lr/2 (1 + cos(pi i / L)) in a cycle of L.

    The peak is the same after every restart, and 0 is never reached within a cycle. Past the
    last cycle the rate stays 0.

    Args:
      lr: the peak, at the first step of every cycle.
      cycle_steps: steps of each cycle, as from `cycle_lengths`.

    Source: Loshchilov and Hutter, SGDR (2017), equation 5 with eta_min = 0.
    """
    ends = np.cumsum(np.asarray(cycle_steps, np.int64))
    starts = ends - np.asarray(cycle_steps)

    def schedule(step: Any) -> Any:
        xp, step = _module(step), _array(step)
        cycle = xp.minimum(xp.searchsorted(xp.asarray(ends), step, side="right"), len(ends) - 1)
        done = (step - xp.asarray(starts)[cycle]) / xp.asarray(cycle_steps)[cycle]
        return lr / 2 * (1 + xp.cos(math.pi * xp.minimum(done, 1.0)))

    return schedule


def one_cycle(
    lr: float, steps: int, pct_start: float = 0.25, div: float = 25.0, div_final: float = 1e5
) -> Schedule:
    """Cosine from lr/div up to lr over the first `pct_start` of the steps, then to lr/div_final.

    Source: Smith and Topin, Super-Convergence (2018), in the cosine form that fastai 2 uses.
    """
    return _two_cosines(lr / div, lr, lr / div_final, steps, pct_start)


def one_cycle_momentum(
    steps: int, pct_start: float = 0.25, high: float = 0.95, low: float = 0.85
) -> Schedule:
    """Momentum for `one_cycle`: high while the rate is low, and the other way round."""
    return _two_cosines(high, low, high, steps, pct_start)


def exponential_sweep(lo: float, hi: float, steps: int) -> Schedule:
    """Rates of the range test: lo (hi/lo)^(i/(steps-1)), evenly spaced on a logarithmic axis.

    Source: Smith, Cyclical Learning Rates (2017).
    """

    def schedule(step: Any) -> Any:
        return lo * (hi / lo) ** (_array(step) / (steps - 1))

    return schedule


def warm_up(schedule: Schedule, steps: int) -> Schedule:
    """Rise linearly to the schedule's first rate for `steps` steps, then run all of it."""
    if steps == 0:
        return schedule

    def warmed(step: Any) -> Any:
        xp, step = _module(step), _array(step)
        rising = schedule(0) * (step + 1) / (steps + 1)
        return xp.where(step < steps, rising, schedule(xp.maximum(step - steps, 0)))

    return warmed


def _two_cosines(start: float, middle: float, end: float, steps: int, pct: float) -> Schedule:
    turn = pct * steps

    def schedule(step: Any) -> Any:
        xp, step = _module(step), _array(step)
        up = xp.clip(step / turn, 0, 1)
        down = xp.clip((step - turn) / (steps - turn), 0, 1)
        rise = start + (middle - start) / 2 * (1 - xp.cos(math.pi * up))
        fall = end + (middle - end) / 2 * (1 + xp.cos(math.pi * down))
        return xp.where(step < turn, rise, fall)

    return schedule


def _module(step: Any) -> Any:
    return jnp if isinstance(step, jax.Array) else np


def _array(step: Any) -> Any:
    return step if isinstance(step, jax.Array) else np.asarray(step)
