"""Places of a batch's examples: their numbers in the split, and the places of their canvases."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from jaxft.data.order import crop_shares, host_order

# A batch's number -> the examples of this process's slots, and the share at which each one's
# canvas lies along its longer side.
Places = Callable[[int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class TrainPlaces:
    """Places of every step of a phase; the newest two epochs are kept, whole.

    Attributes:
      balanced_labels: of all examples, to draw each class equally often; None: each example once.
      mine: positions in a batch, of this process's examples.
    """

    seed: int
    phase: int
    examples: int
    balanced_labels: np.ndarray | None
    per_epoch: int
    batch_size: int
    mine: np.ndarray
    known: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        epoch, within = divmod(step, self.per_epoch)
        indices, shares = self._epoch(epoch)
        positions = within * self.batch_size + self.mine
        return indices[positions], shares[positions]

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        # Two threads may both compute it: the same, so that it does not matter whose stays.
        found = self.known.get(epoch)
        if found is None:
            where = (self.seed, self.phase, epoch, self.examples)
            found = host_order(*where, self.balanced_labels), crop_shares(*where)
            self.known[epoch] = found
            self.known.pop(epoch - 2, None)
        return found


def eval_places(
    first: int, shares: np.ndarray, batch_size: int, mine: np.ndarray, number: int
) -> tuple[np.ndarray, np.ndarray]:
    indices = first + number * batch_size + mine
    return indices, shares[np.minimum(indices, len(shares) - 1)]
