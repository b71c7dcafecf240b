"""Make schedules.json: PyTorch's and fastai's rates.

    python tests/golden/make_schedules.py

Needs torch and fastai.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastai.callback.schedule import combined_cos, valley
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts


def warm_restarts(lr: float, first: int, mult: int, steps: int) -> list[float]:
    """The rate of every step, the scheduler being stepped after each batch."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = CosineAnnealingWarmRestarts(optimizer, T_0=first, T_mult=mult)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def one_cycle(lr: float, steps: int) -> dict[str, object]:
    """Rate and momentum of fit_one_cycle with its defaults."""
    places = [step / steps for step in range(steps)]
    rates = combined_cos(0.25, lr / 25, lr, lr / 1e5)
    momenta = combined_cos(0.25, 0.95, 0.85, 0.95)
    return {
        "lr": lr,
        "steps": steps,
        "rates": [float(rates(place)) for place in places],
        "momenta": [float(momenta(place)) for place in places],
    }


def valleys(seed: int, count: int = 60) -> dict[str, object]:
    """A curve that falls, wavers and rises, and the index that `valley` chooses on it."""
    random = np.random.RandomState(seed)
    x = np.linspace(0, 1, count)
    curve = 3 - 2 / (1 + np.exp(-(x - 0.5) * 14)) + 40 * np.maximum(x - 0.85, 0) ** 2
    curve = np.round(curve + random.standard_normal(count) * 0.1, 6).tolist()
    trimmed = slice(count // 10, count - 5)
    index, _ = valley(list(range(count))[trimmed], curve[trimmed], count)
    return {"curve": curve, "index": int(index)}


if __name__ == "__main__":
    goldens: dict[str, Any] = {
        "warm_restarts": [
            {"lr": lr, "first": first, "mult": mult, "rates": warm_restarts(lr, first, mult, steps)}
            for lr, first, mult, steps in ((0.01, 7, 1, 28), (0.3, 5, 2, 75), (1.0, 3, 3, 39))
        ],
        "one_cycle": [one_cycle(0.01, 40), one_cycle(0.5, 33)],
        "valley": [valleys(seed) for seed in range(6)],
    }
    assert math.isclose(goldens["warm_restarts"][0]["rates"][0], 0.01)
    Path(__file__).with_name("schedules.json").write_text(json.dumps(goldens) + "\n")
