"""Catalogue of a prepared data set, beside TFDS's own files.

Labels and names lie in the records, too, but only reading all of those would find them. Class names
are kept as they were: TFDS's own list of them is a file of lines. They decide what a run learns, so
the file holds a digest of itself.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxft.errors import UserError

NAME = "jaxft.json"
VERSION = 1


class Listing(NamedTuple):
    """The examples of one split, in the order of their records.

    `files` are the names that the images had; `labels` int32 [N].
    """

    files: tuple[str, ...]
    labels: np.ndarray


class Catalogue(NamedTuple):
    """A data set's content.

    `digest` stands for all records in their order; `sizes` are the bytes of each shard, by name.
    """

    classes: tuple[str, ...]
    digest: str
    sizes: dict[str, int]
    splits: dict[str, Listing]


def digest(parts: Iterable[str]) -> str:
    """One digest of several texts in their order."""
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()


def write(folder: Path, content: Catalogue) -> None:
    """Write it beside the data set's files."""
    splits = {
        name: {"files": listing.files, "labels": listing.labels.tolist()}
        for name, listing in content.splits.items()
    }
    plain = {"version": VERSION, **content._asdict(), "splits": splits}
    # ASCII, for a name may hold bytes that are no UTF-8.
    text = json.dumps({**plain, "sha256": _seal(plain)})
    (folder / NAME).write_text(text, encoding="ascii")


def read(folder: Path) -> Catalogue | None:
    """Return the catalogue in a folder; None where there is none, or one of other files.

    Raises:
      UserError: it is damaged.
    """
    try:
        content = json.loads((folder / NAME).read_bytes())
        told = content.pop("sha256", None)
        if told not in (None, _seal(content)):  # earlier versions wrote none
            raise ValueError("its contents do not match their digest")
        if content.pop("version") != VERSION:
            return None
        splits = {name: _listing(rows) for name, rows in content.pop("splits").items()}
        classes = tuple(content.pop("classes"))
        found = Catalogue(classes=classes, splits=splits, **content)  # no other keys
        return found if found.sizes == _sizes(folder, found.sizes) else None
    except OSError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{folder / NAME} is damaged: {error}", hint="Prepare the data set again."
        ) from None


def _seal(plain: Any) -> str:
    # As a file gives it back: tuples are lists there.
    return digest([json.dumps(plain, sort_keys=True)])


def _listing(rows: Mapping[str, Any]) -> Listing:
    files, labels = tuple(rows["files"]), np.asarray(rows["labels"], np.int32)
    if len(files) != len(labels):
        raise ValueError(f"{len(files)} files and {len(labels)} labels")
    return Listing(files, labels)


def _sizes(folder: Path, names: Iterable[str]) -> dict[str, int]:
    return {name: os.path.getsize(folder / name) for name in names}
