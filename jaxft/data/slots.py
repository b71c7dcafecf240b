"""Slots of a batch, and those of them that a process fills."""

import numpy as np


def layout(batch_size: int, devices: int, microbatches: int) -> np.ndarray:
    """The order in which a batch goes to the devices, int [batch_size].

    Each device takes its share of every microbatch, so that a microbatch holds the same examples
    on any number of devices.
    """
    parts = np.arange(batch_size).reshape(microbatches, devices, -1)
    return parts.swapaxes(0, 1).reshape(-1)
