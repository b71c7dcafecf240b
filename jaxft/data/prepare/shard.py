"""One shard of a data set in preparation: image files in, an array_record file and a note out.

Runs in a process of its own. A shard is whole when its note is there; before that, whatever
happened, it is made anew.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from jaxft.data.images.content import content
from jaxft.data.images.decode import decode_bytes
from jaxft.data.images.resize import resize
from jaxft.data.images.sizing import MAX_PIXELS, Sizing
from jaxft.data.images.unreadable import UnreadableImage
from jaxft.data.prepare import description
from jaxft.errors import Interrupted, UserError
from jaxft.runtime import child, paths

# One record a group, so that each is read alone; pixels hardly shrink, and JPEGs do not.
WRITER_OPTIONS = "group_size:1,uncompressed"
FORMATS = ("jpeg", "raw")
LONGEST_JPEG = 65535


@dataclass(frozen=True)
class Form:
    """How images are put away.

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
    """A shard to write: `files` in their order, what to call them in it, and their labels."""

    shard: str
    note: str
    files: tuple[str, ...]
    names: tuple[str, ...]
    labels: tuple[int, ...]
    classes: int
    form: Form


class Note(NamedTuple):
    """What became of a job; positions are those in its `files`.

    `kept` are in the shard, in this order; `digests` are of the bytes of their files, `bad` maps
    the others to the reason; `records` is a digest of all records, `size` the shard's bytes.
    """

    kept: list[int]
    digests: list[str]
    bad: dict[int, str]
    records: str
    size: int


class Shared(NamedTuple):
    """Memory that the workers share with their parent; without locks, for a killed one keeps its.

    `done` holds for each job how many of its files were seen, `stop` whether to give up.
    """

    done: Any
    stop: Any


_shared: Shared | None = None


def start_worker(shared: Shared) -> None:
    """What a worker does first."""
    global _shared
    _shared = shared
    child.obey()


def read_note(job: Job) -> Note | None:
    """The note of a shard, or None while it is not whole."""
    try:
        note = Note(**json.loads(Path(job.note).read_text(encoding="ascii")))
        if os.path.getsize(job.shard) != note.size:
            return None
    except (OSError, ValueError, TypeError):
        return None
    return note._replace(bad={int(position): reason for position, reason in note.bad.items()})


def write(job: Job, slot: int) -> None:
    """Makes a shard, then its note.

    Args:
      slot: where in `Shared.done` to count.

    Raises:
      UserError: it can't be written.
      Interrupted: the parent wished so.
    """
    from array_record.python import array_record_module

    aside = f"{job.note}.{os.getpid()}"
    kept: list[int] = []
    digests: list[str] = []
    bad: dict[int, str] = {}
    records = hashlib.sha256()
    try:
        writer = array_record_module.ArrayRecordWriter(aside, WRITER_OPTIONS)
        for position, outcome in enumerate(_records(job, slot)):
            if isinstance(outcome, str):
                bad[position] = outcome
                continue
            digest, record = outcome
            kept.append(position)
            digests.append(digest)
            records.update(hashlib.sha256(record).digest())
            writer.write(record)
        writer.close()
        note = Note(kept, digests, bad, records.hexdigest(), os.path.getsize(aside))
        _place(aside, job.shard)
        written = json.dumps(note._asdict()).encode("ascii")
        paths.write(Path(job.note), lambda file: file.write(written))
    except (RuntimeError, OSError) as error:  # the writer's own errors are RuntimeErrors
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"{job.shard} can't be written: {reason}") from None
    finally:
        with suppress(OSError):
            os.unlink(aside)


def _place(aside: str, shard: str) -> None:
    """Gives a file its name once the disk has it."""
    with open(aside, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(aside, shard)


def _records(job: Job, slot: int) -> Iterator[tuple[str, bytes] | str]:
    """For every file the digest of its bytes and its record; or why there is none."""
    for file, name, label in zip(job.files, job.names, job.labels, strict=True):
        if _shared is not None and _shared.stop.value:
            raise Interrupted
        try:
            data = content(file, job.form.max_pixels)
            decoded = decode_bytes(data, file, Sizing(max_pixels=job.form.max_pixels))
            pixels = _shrunk(decoded, job.form.shorter_side)
            if job.form.image_format == "jpeg" and max(pixels.shape) > LONGEST_JPEG:
                raise UnreadableImage(file, f"longer than the {LONGEST_JPEG} pixels of a JPEG")
            record = _record(pixels, name, label, job.classes, job.form)
            yield hashlib.sha256(data).hexdigest(), record
        except UnreadableImage as error:
            yield error.reason
        if _shared is not None:
            _shared.done[slot] += 1


def _shrunk(pixels: np.ndarray, shorter_side: int) -> np.ndarray:
    smaller = min(pixels.shape[:2]) <= shorter_side
    return pixels if smaller else resize(pixels, Sizing(shorter_side))


@cache
def _serializer(classes: int, image_format: str) -> tuple[Any, Any]:
    from tensorflow_datasets.core import example_serializer

    described = description.features(classes, image_format)
    return described, example_serializer.ExampleSerializer(described.get_serialized_info())


def _record(pixels: np.ndarray, name: str, label: int, classes: int, form: Form) -> bytes:
    described, serializer = _serializer(classes, form.image_format)
    example = described.encode_example(
        {
            "image": _jpeg(pixels, form.quality) if form.image_format == "jpeg" else pixels,
            "image/filename": os.fsencode(name),
            "label": label,
        }
    )
    return serializer.serialize_example(example)


def _jpeg(pixels: np.ndarray, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=0)
    return file.getvalue()
