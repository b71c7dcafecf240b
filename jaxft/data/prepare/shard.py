"""One shard of a data set in preparation: image files in, an array_record file and a note out.

Runs in a process of its own. A shard is whole when its note is there; without a note it is made
anew.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from jaxft.data.images.decode import decode_bytes
from jaxft.data.images.file import content
from jaxft.data.images.resize import resize
from jaxft.data.images.sizing import Sizing
from jaxft.data.images.unreadable import UnreadableImage
from jaxft.data.prepare import tfds_metadata
from jaxft.data.prepare.job import Form, Job, Note
from jaxft.errors import Interrupted, UserError
from jaxft.runtime import paths, worker_process

# One record a group, so that each is read alone; pixels hardly shrink, and JPEGs do not.
WRITER_OPTIONS = "group_size:1,uncompressed"
FORMATS = ("jpeg", "raw")
LONGEST_JPEG = 65535


class Shared(NamedTuple):
    """Memory that the workers share with their parent; no locks, as a killed worker keeps its own.

    `done` counts the files seen of each job; `stop`, once not 0, ends the workers.
    """

    done: Any
    stop: Any


_shared: Shared | None = None


def start_worker(shared: Shared) -> None:
    """Begin a worker process."""
    global _shared
    _shared = shared
    worker_process.obey()


def write(job: Job, slot: int) -> None:
    """Make a shard, then its note.

    Args:
      job: the shard.
      slot: position in `Shared.done`, where its files are counted.

    Raises:
      UserError: it can't be written.
      Interrupted: the parent has set `Shared.stop`.
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
    """Give a file its name once the disk has it."""
    with open(aside, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(aside, shard)


def _records(job: Job, slot: int) -> Iterator[tuple[str, bytes] | str]:
    """Yield for every file the digest of its bytes and its record, or why there is none."""
    for file, name, label in zip(job.files, job.names, job.labels, strict=True):
        if _shared is not None and _shared.stop.value:
            raise Interrupted
        try:
            data = content(file, job.form.max_pixels)
            decoded = decode_bytes(data, file, Sizing(max_pixels=job.form.max_pixels))
            pixels = _shrunk(decoded, job.form.shorter_side)
            if job.form.image_format == "jpeg" and max(pixels.shape) > LONGEST_JPEG:
                raise UnreadableImage(file, f"longer than a JPEG's {LONGEST_JPEG} pixels")
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

    described = tfds_metadata.features(classes, image_format)
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
    # Not `serialize_example`, by which the order of the features changes from process to process.
    serialized: bytes = serializer.get_tf_example(example).SerializeToString(deterministic=True)
    return serialized


def _jpeg(pixels: np.ndarray, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=0)
    return file.getvalue()
