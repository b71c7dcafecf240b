"""Arrays sent from process to process, with no bit changed."""

import jax
import numpy as np
from jax.experimental import multihost_utils

PIECE_BYTES = 2**28  # sent at once, so that features of a large data set need no room of their size


def gather_array(array: np.ndarray) -> np.ndarray:
    """Stack an array of every process, of one shape in all of them: [processes, ...]."""
    content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    with jax.transfer_guard("allow"):
        rows = [multihost_utils.process_allgather(piece) for piece in _pieces(content)]
    whole = np.ascontiguousarray(np.concatenate(rows, 1))
    return whole.view(array.dtype).reshape(-1, *array.shape)


def broadcast_bytes(content: np.ndarray) -> np.ndarray:
    """Return the first process's bytes in every process; each gives the same number of bytes."""
    with jax.transfer_guard("allow"):
        received = [multihost_utils.broadcast_one_to_all(piece) for piece in _pieces(content)]
    whole: np.ndarray = np.concatenate(received).astype(np.uint8)
    return whole


def _pieces(content: np.ndarray) -> list[np.ndarray]:
    """Cut bytes into portions that fit into the free memory of any device."""
    return [content[i : i + PIECE_BYTES] for i in range(0, max(len(content), 1), PIECE_BYTES)]
