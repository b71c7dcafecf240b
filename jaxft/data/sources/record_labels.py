"""Labels of a foreign data set's records, which only reading all of them finds."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxft.data.sources import catalogue
from jaxft.data.sources.tfds_features import features_of
from jaxft.runtime import array_files
from jaxft.runtime.folders import default_directory
from jaxft.runtime.process import cores

RECORDS_AT_ONCE = 256
UNLABELLED = -1  # TFDS writes it where a label is not known


def labels_of(identity: str, source: Any, label: str, names: Sequence[str]) -> np.ndarray:
    """Label of every record, int32 [N]: read once, then kept in the user's cache directory.

    A cache that fails costs only time.

    Args:
      identity: of the records; the cache keys on it.
      source: index -> the bytes of a record.
      label: name of the feature.
      names: of the examples, for errors.
    """
    place = default_directory() / "labels" / f"{catalogue.digest([identity])}.npy"
    kept = array_files.load(place)
    if kept is not None:
        return kept
    found = _read_all(source, label, names)
    with suppress(OSError):
        array_files.store(place, found)
    return found


def _read_all(source: Any, label: str, names: Sequence[str]) -> np.ndarray:
    def some(start: int) -> list[int]:
        indices = range(start, min(start + RECORDS_AT_ONCE, len(names)))
        found = (features_of(source, index, names[index]) for index in indices)
        return [(features[label].int64_list.value or [UNLABELLED])[0] for features in found]

    starts = range(0, len(names), RECORDS_AT_ONCE)
    with ThreadPoolExecutor(cores(), "labels") as pool:
        parts = tqdm(pool.map(some, starts), "labels", len(starts), leave=False, disable=None)
        try:
            return np.asarray([number for part in parts for number in part], np.int32)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
