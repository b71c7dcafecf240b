"""A shard to write, and the note of a written one."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from jaxft.data.images.sizing import MAX_PIXELS


@dataclass(frozen=True)
class Form:
    """Form in which images are stored.

    Attributes:
      shorter_side: pixels; larger images are shrunk to it, smaller ones stay as they are.
      image_format: "jpeg", or "raw" (uint8, nothing to decode).
      quality: of a JPEG, 1..100; its colours have all their pixels (4:4:4).
      max_pixels: larger images are refused by their header.
    """

    shorter_side: int
    image_format: str
    quality: int
    max_pixels: int = MAX_PIXELS


class Job(NamedTuple):
    """A shard to write: `files` in their order, their `names` in it, and their labels."""

    shard: str
    note: str
    files: tuple[str, ...]
    names: tuple[str, ...]
    labels: tuple[int, ...]
    classes: int
    form: Form


class Note(NamedTuple):
    """Outcome of a job; positions are those in its `files`.

    `kept` are in the shard, in this order; `digests` are of the bytes of their files, `bad` maps
    the others to the reason; `records` is a digest of all records, `size` the shard's bytes.
    """

    kept: list[int]
    digests: list[str]
    bad: dict[int, str]
    records: str
    size: int


def read_note(job: Job) -> Note | None:
    """The note of a shard, or None while it is not whole."""
    try:
        note = Note(**json.loads(Path(job.note).read_text(encoding="ascii")))
        if os.path.getsize(job.shard) != note.size:
            return None
    except (OSError, ValueError, TypeError):
        return None
    return note._replace(bad={int(position): reason for position, reason in note.bad.items()})
