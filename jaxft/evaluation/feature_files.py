"""Files of features: NumPy's with a CSV of names beside it, or Parquet."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxft.errors import UserError
from jaxft.evaluation import parquet
from jaxft.runtime import csv_rows, hosts, paths
from jaxft.runtime.paths import AnyPath

KINDS = (".npy", ".parquet")


def files_of(output: str | AnyPath) -> tuple[AnyPath, ...]:
    """Return the files that features go to: a `.parquet`, or a `.npy` and its `.csv` of names."""
    place = paths.of(output)
    return (place, place.with_suffix(".csv")) if place.suffix == ".npy" else (place,)


def demand_new(output: str | AnyPath) -> None:
    """Check an output before any work.

    Raises:
      UserError: a name of another kind, files that are there already, a folder or packages that
        are missing.
    """
    hosts.together(lambda: _check(output))


def _check(output: str | AnyPath) -> None:
    place, files = paths.of(output), files_of(output)
    if place.suffix not in KINDS:
        raise UserError(f"--output={output} should end in {' or '.join(KINDS)}")
    if place.suffix == ".parquet":
        parquet.demand(output)
    if hosts.is_first():
        paths.demand_new(*files)


@hosts.first_only
def write(
    output: str | AnyPath, files: Sequence[str], features: Float[np.ndarray, "files features"]
) -> None:
    """Write features into new files, of the kind that the output's name says.

    `.npy` holds float32 [files, features]; the CSV beside it a column `file`, in the same order.
    `.parquet` holds the columns `file` and `features`, a list of fixed size; bytes of a file's
    name that are not UTF-8 become \\xNN in it.

    Raises:
      FileExistsError: one of them is there.
    """
    first, *others = files_of(output)
    for names in others:
        with paths.open_new(names) as raw:
            csv_rows.fill(raw, ["file"], ([name] for name in files))
    with paths.open_new(first) as raw:
        if others:
            np.save(raw, features, allow_pickle=False)
        else:
            _write_parquet(raw, files, features)


def _write_parquet(raw: Any, files: Sequence[str], features: np.ndarray) -> None:
    import pyarrow

    flat = pyarrow.array(np.ascontiguousarray(features).reshape(-1))
    lists = pyarrow.FixedSizeListArray.from_arrays(flat, features.shape[1])
    parquet.write(raw, {"file": parquet.texts(files), "features": lists})
