"""Slots of a batch, and those of them that a process fills."""

from typing import NamedTuple

import numpy as np


def layout(batch_size: int, devices: int, microbatches: int) -> np.ndarray:
    """The order in which a batch goes to the devices, int [batch_size].

    Each device takes its share of every microbatch, so that a microbatch holds the same examples
    on any number of devices.
    """
    parts = np.arange(batch_size).reshape(microbatches, devices, -1)
    return parts.swapaxes(0, 1).reshape(-1)


class Slots(NamedTuple):
    """Slots of a batch that a process fills.

    Attributes:
      batch_size: over all processes.
      host_index: number of this process.
      host_count: number of processes.
      layout: position in the batch of each slot's example, as from `layout`; None: in order.
    """

    batch_size: int
    host_index: int = 0
    host_count: int = 1
    layout: np.ndarray | None = None

    def mine(self) -> np.ndarray:
        """Positions in the batch of this process's examples, int [batch_size / host_count].

        Raises:
          ValueError: batch_size is no multiple of host_count.
        """
        if self.batch_size % self.host_count:
            raise ValueError(
                f"batch_size {self.batch_size} is no multiple of the {self.host_count} hosts"
            )
        positions = np.arange(self.batch_size) if self.layout is None else self.layout
        size = self.batch_size // self.host_count
        return positions[self.host_index * size : (self.host_index + 1) * size]
