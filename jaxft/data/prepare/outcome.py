"""Outcome of a preparation, and the files beside the shards that tell of it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from jaxft.data.prepare import duplicates, tfds_metadata
from jaxft.data.prepare.duplicates import Copy, Kept
from jaxft.data.prepare.job import Form, Job, Note, read_note
from jaxft.data.sources import catalogue
from jaxft.data.sources.catalogue import Catalogue, Listing
from jaxft.errors import in_a_line
from jaxft.runtime import csv_rows

BAD, DUPLICATES = "bad_files.csv", "duplicates.csv"
Made: TypeAlias = tuple[str, Job, Note]  # a shard's split, its job and its note


class Prepared(NamedTuple):
    """A prepared data set.

    `images` by split; `bad` (file, reason); `copies` of all splits; `empty` are classes that have
    no readable image for training.
    """

    output: Path
    images: dict[str, int]
    bytes: int
    bad: list[tuple[str, str]]
    copies: list[Copy]
    empty: list[str]


def text(found: Prepared) -> str:
    """Report on a prepared data set, for people."""
    parts = " and ".join(f"{count:,} images for {name}" for name, count in found.images.items())
    place = in_a_line(found.output)
    lines = [f"{place}: {parts}, {found.bytes / 2**20:,.1f} MiB"]
    if found.bad:
        lines.append(f"{len(found.bad):,} unreadable images left out: see {BAD}")
    lines += [f"{line}: see {DUPLICATES}" for line in duplicates.in_words(found.copies)]
    lines += [f'class "{in_a_line(name)}" has no readable image in train' for name in found.empty]
    return "\n".join([*lines, f"train on it with --config.data.source=tfds_dir:{place}"])


def all_unreadable(made: Sequence[Made]) -> list[str]:
    """Every file with the reason, where no image for training can be read; else nothing."""
    if any(note.kept for split, _, note in made if split == "train"):
        return []
    return [f"{job.files[at]}: {why}" for _, job, note in made for at, why in note.bad.items()]


def finish(data: Path, made: Sequence[Made], classes: tuple[str, ...], form: Form) -> Prepared:
    """Write all files that belong beside the shards."""
    kept = [image for one in made for image in _kept(*one)]
    bad = [(job.files[at], why) for _, job, note in made for at, why in note.bad.items()]
    images = Counter(image.split for image in kept)
    twice = list(duplicates.find(kept))
    _describe(data, made, classes, form)
    content = _catalogue(made, kept, classes)
    catalogue.write(data, content)
    _write_csv(data / BAD, ("file", "reason"), bad)
    _write_csv(
        data / DUPLICATES, duplicates.HEADER, (duplicates.row(copy, classes) for copy in twice)
    )
    present = {image.label for image in kept if image.split == "train"}
    empty = [name for label, name in enumerate(classes) if label not in present]
    return Prepared(data, images, sum(content.sizes.values()), bad, twice, empty)


def _describe(data: Path, made: Sequence[Made], classes: Sequence[str], form: Form) -> None:
    notes: dict[str, list[Note]] = {}
    for split, _, note in made:
        notes.setdefault(split, []).append(note)
    tfds_metadata.write(
        data,
        form.image_format,
        classes,
        {split: [len(note.kept) for note in some] for split, some in notes.items()},
        {split: sum(note.size for note in some) for split, some in notes.items()},
        f"Prepared by jaxft: turned upright, shorter side {form.shorter_side} pixels at most.",
    )


def _catalogue(made: Sequence[Made], kept: Sequence[Kept], classes: tuple[str, ...]) -> Catalogue:
    images = {
        split: [image for image in kept if image.split == split]
        for split in dict.fromkeys(split for split, *_ in made)
    }
    return Catalogue(
        classes,
        catalogue.digest([*classes, *(note.records for *_, note in made)]),
        {Path(job.shard).name: note.size for _, job, note in made},
        {
            split: Listing(
                tuple(image.name for image in some),
                np.asarray([image.label for image in some], np.int32),
            )
            for split, some in images.items()
        },
    )


def note_of(job: Job) -> Note:
    """The note of a shard that is whole."""
    note = read_note(job)
    assert note is not None, job.note
    return note


def _kept(split: str, job: Job, note: Note) -> Iterator[Kept]:
    for position, digest in zip(note.kept, note.digests, strict=True):
        yield Kept(split, job.files[position], job.names[position], job.labels[position], digest)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with open(path, "wb") as file:
        csv_rows.fill(file, header, rows)
