"""`jaxft prepare`: a folder or CSV of image files -> a TFDS data set in array_record.

Everything is written aside, in OUTPUT.partial, and gets its name when it is whole. What is
finished there are shards with their notes; a restart keeps them and makes the others. Which
images a shard holds depends on the source alone, not on how many workers there are.
"""

import csv
import fcntl
import json
import math
import multiprocessing
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from jaxft.data import Dataset, Split
from jaxft.data.images.sizing import MOST_PIXELS
from jaxft.data.prepare import copies, description, shard
from jaxft.data.prepare.copies import Copy, Kept
from jaxft.data.prepare.shard import Form, Job, Note, Shared
from jaxft.data.sources import catalogue, registry, tfds
from jaxft.data.sources.catalogue import Catalogue, Listing
from jaxft.data.sources.holdout import Holdout
from jaxft.data.sources.left_out import left_out_in_words
from jaxft.errors import UserError
from jaxft.runtime import paths
from jaxft.runtime.console import Console
from jaxft.runtime.process import cores

BAD, DUPLICATES = "bad_files.csv", "duplicates.csv"
# What is in OUTPUT.partial.
DATA, NOTES, PLAN, LOCK = "data", "notes", "plan.json", "lock"
# Enough shards for many workers and a restart that loses little, and no more than a process may
# hold open.
MANY_SHARDS, MOST_SHARDS = 64, 512
FEWEST_IMAGES, ENOUGH_IMAGES = 64, 2048


class Whole(Holdout):
    """Holds nothing out: a data set without a split of its own stays without one."""

    def split(self, everything: Split) -> tuple[Split, Split]:
        """All examples, and none."""
        return everything, everything.select([])


Told: TypeAlias = tuple[str, Job, Note]  # the split, what was to be done, what came of it


class Prepared(NamedTuple):
    """What came out.

    `images` by split; `bad` (file, reason); `copies` of all splits; `empty` are classes that have
    no readable image for training.
    """

    output: Path
    images: dict[str, int]
    bytes: int
    bad: list[tuple[str, str]]
    copies: list[Copy]
    empty: list[str]


def prepare(
    source: str, output: str, form: Form, workers: int = 0, console: Console | None = None
) -> Prepared:
    """Checks, shrinks and stores every image; goes on where an interrupted call stopped.

    Args:
      source: "folder:PATH" or "csv:FILE"; its own splits become train, validation and test, and
        without one all images are in train.
      output: the folder to make.
      form: how the images are stored.
      workers: processes; 0 for one a core.

    Raises:
      UserError: the source or the output can't be used, the disk is full, a worker was killed.
    """
    console = console or Console(None)
    tfds.demand_packages("prepare")
    if form.max_pixels > MOST_PIXELS:
        raise UserError(f"--max-pixels should be {MOST_PIXELS} at most: Pillow opens no larger")
    place = _free_place(output)
    splits, found, base = _listed(source)
    classes = found.classes
    aside = place.with_name(f"{place.name}.partial")
    _demand_apart(place, aside, source, splits)
    with _held(aside):
        _free_place(output)  # another call may have finished
        _clear(aside / NOTES)
        _agree(aside, source, form, splits, classes)
        jobs = _jobs(aside, _dataset_name(place), splits, base, len(classes), form)
        total = sum(len(job.files) for _, job in jobs)
        console.say(f"{total:,} images in {len(classes)} classes -> {place}")
        if told := left_out_in_words(found):
            console.say(told)
        _write([job for _, job in jobs], workers or cores(), console)
        notes = [(split, job, _note(job)) for split, job in jobs]
        if unreadable := _all_unreadable(notes):
            _remove(aside)
            raise UserError("no image of train can be read:", unreadable)
        whole = _finish(aside / DATA, notes, classes, form)
        os.rename(aside / DATA, place)
        _remove(aside)
    return whole._replace(output=place)


def text(found: Prepared) -> str:
    """What a person wants to know of it."""
    parts = " and ".join(f"{count:,} images for {name}" for name, count in found.images.items())
    lines = [f"{found.output}: {parts}, {found.bytes / 2**20:,.1f} MiB"]
    if found.bad:
        lines.append(f"{len(found.bad):,} unreadable images left out: see {BAD}")
    lines += [f"{what}: see {DUPLICATES}" for what in copies.in_words(found.copies)]
    lines += [f'class "{name}" has no readable image in train' for name in found.empty]
    return "\n".join([*lines, f"train on it by --config.data.source=tfds_dir:{found.output}"])


def _free_place(output: str) -> Path:
    if paths.is_remote(output):
        raise UserError(f"{output}: array_record files are written to a disk; copy them from there")
    place = Path(output).expanduser().absolute()
    if os.path.lexists(place):
        raise UserError(f"{place} exists already", hint="Give another --output, or remove it.")
    return place


def _demand_apart(place: Path, aside: Path, source: str, splits: dict[str, Split]) -> None:
    """Raises UserError where the output would be part of its source, or the source of what is kept
    aside, which goes in the end."""
    files = [file for split in splits.values() for file in split.names]
    folders = {os.path.dirname(file) for file in files if not paths.is_remote(file)}
    real = {Path(os.path.realpath(folder)) for folder in folders}
    output, partial = (Path(os.path.realpath(path)) for path in (place, aside))
    problems = []
    kind, _, root = source.partition(":")
    if kind == "folder" and not paths.is_remote(root):
        real.add(Path(os.path.realpath(os.path.expanduser(root))))
        if any(output.is_relative_to(folder) for folder in real):
            problems.append(f"{place} is inside the source")
    if any(folder.is_relative_to(partial) for folder in real):
        problems.append(f"the source is inside {aside}, where the output is made")
    if problems:
        raise UserError("--output and --source overlap:", problems, "Give another --output.")


def _listed(source: str) -> tuple[dict[str, Split], Dataset, str]:
    """The source's splits by TFDS's names, all that it is, and where its files lie."""
    kind, _, argument = source.partition(":")
    if kind not in ("folder", "csv"):
        raise UserError(f'"{source}" can\'t be prepared', hint="known are: folder:PATH, csv:FILE")
    found = registry.open_held_out(source, Whole())
    splits = {"train": found.train, "validation": found.valid}
    if found.test:
        splits["test"] = found.test
    place = paths.of(argument)
    base = os.fspath(place if kind == "folder" else place.parent).rstrip("/")
    return {name: split for name, split in splits.items() if len(split)}, found, base


def _dataset_name(place: Path) -> str:
    """TFDS's name for it: of letters, digits and underscores; .../NAME/1.0.0 is one, too."""
    name = place.parent.name if re.fullmatch(r"\d+\.\d+\.\d+", place.name) else place.name
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return plain if plain[:1].isalpha() else f"images_{plain}".rstrip("_")


@contextmanager
def _held(aside: Path) -> Iterator[None]:
    """Makes the folder, and keeps other processes out of it.

    Raises:
      UserError: it can't be made, it holds what we did not put there, or another process is at work
        in it.
    """
    with ExitStack() as held:
        try:
            aside.mkdir(parents=True, exist_ok=True)
            _demand_ours(aside)
            lock = os.open(aside / LOCK, os.O_WRONLY | os.O_CREAT, 0o644)
            held.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(lock), os.stat(aside / LOCK)):
                raise BlockingIOError  # who held it before has removed it
            for name in (DATA, NOTES):
                (aside / name).mkdir(exist_ok=True)
        except BlockingIOError:
            raise UserError(f"another process is at work in {aside}") from None
        except OSError as error:
            raise UserError(f"{aside} can't be written: {error.strerror}") from None
        yield


def _demand_ours(aside: Path) -> None:
    """Raises UserError where the folder is no earlier call's, and holds anything.

    A call that was killed before it had a plan leaves folders and a lock, all empty, and perhaps a
    hidden file.
    """
    if (aside / PLAN).is_file():
        return
    foreign = [path for path in aside.iterdir() if path.name[0] != "." and not _begun(path)]
    if foreign:
        raise UserError(
            f"{aside} would be made to work in, and it is there already and holds:",
            [str(path) for path in sorted(foreign)],
            "Give another --output, or move them away.",
        )


def _begun(path: Path) -> bool:
    """Whether it is what a call puts there first."""
    if path.is_symlink():
        return False
    if path.name == LOCK:
        return path.is_file() and not path.stat().st_size
    return path.name in (DATA, NOTES) and path.is_dir() and not any(path.iterdir())


def _remove(aside: Path) -> None:
    """Removes what calls have put there; in an order in which one that is killed leaves no harm."""
    for name in (NOTES, DATA):
        shutil.rmtree(aside / name, ignore_errors=True)
    with suppress(OSError):
        for path in (*aside.glob(f".{PLAN}.*"), aside / PLAN, aside / LOCK):
            path.unlink(missing_ok=True)
        aside.rmdir()


def _clear(notes: Path) -> None:
    """Removes what a killed process had not finished."""
    for file in notes.iterdir():
        if file.suffix != ".json":
            file.unlink()


def _agree(
    aside: Path, source: str, form: Form, splits: dict[str, Split], classes: Sequence[str]
) -> None:
    """Notes what is being prepared, or checks that it is what an earlier call began.

    Raises:
      UserError: listing what is different.
    """
    lines = [
        line for split in splits.values() for line in (*split.identity, *map(str, split.labels))
    ]
    wanted = {**asdict(form), "source": source, "files": catalogue.digest([*classes, *lines])}
    plan = aside / PLAN
    try:
        begun = json.loads(plan.read_text())
    except FileNotFoundError:
        content = json.dumps(wanted, indent=2).encode()
        paths.write(plan, lambda file: file.write(content))
        return
    changed = [
        "the files of the source are no longer the same"
        if key == "files"
        else f"{key}: {begun.get(key)}, and now {wanted[key]}"
        for key in wanted
        if begun.get(key) != wanted[key]
    ]
    if changed:
        raise UserError(
            f"{aside} holds what another call began:",
            changed,
            f"Give the same options to go on, or remove it to begin anew: rm -r '{aside}'",
        )


def images_a_shard(total: int) -> int:
    """How many of the data set's images go into one file, whatever the number of workers."""
    enough = max(FEWEST_IMAGES, min(ENOUGH_IMAGES, math.ceil(total / MANY_SHARDS)))
    return max(enough, math.ceil(total / MOST_SHARDS))


def _jobs(
    aside: Path, dataset: str, splits: dict[str, Split], base: str, classes: int, form: Form
) -> list[tuple[str, Job]]:
    """The shards to make, each with its split."""
    each = images_a_shard(sum(len(split) for split in splits.values()))
    jobs = []
    for name, split in splits.items():
        count = math.ceil(len(split) / each)
        shards = description.shard_paths(aside / DATA, dataset, name, count)
        for number, path in enumerate(shards):
            files = split.names[number * each : (number + 1) * each]
            job = Job(
                path,
                os.fspath(aside / NOTES / f"{Path(path).name}.json"),
                files,
                tuple(file.removeprefix(f"{base}/") for file in files),
                tuple(split.labels[number * each : (number + 1) * each].tolist()),
                classes,
                form,
            )
            jobs.append((name, job))
    return jobs


def _write(jobs: Sequence[Job], workers: int, console: Console) -> None:
    """Makes the shards that are not whole yet."""
    left = [job for job in jobs if shard.read_note(job) is None]
    total, to_do = (sum(len(job.files) for job in some) for some in (jobs, left))
    if to_do < total:
        console.say(f"{total - to_do:,} images are done already")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["jaxft.data.prepare.shard"])
    shared = Shared(context.RawArray("q", max(1, len(left))), context.RawValue("b", 0))
    pool = ProcessPoolExecutor(
        max(1, min(workers, len(left))), context, shard.start_worker, (shared,)
    )
    with pool, console.bar(total, "prepare", done=total - to_do) as bar:
        try:
            running: Any = {pool.submit(shard.write, job, slot) for slot, job in enumerate(left)}
            while running:
                ended, running = wait(running, 0.2, FIRST_EXCEPTION)
                for job in ended:
                    job.result()
                bar.update(total - to_do + sum(shared.done) - bar.n)
        except BrokenProcessPool:
            raise UserError(
                "a worker process was killed, perhaps for want of memory",
                hint="The same command goes on; --workers=N takes fewer at once.",
            ) from None
        finally:
            shared.stop.value = 1
            pool.shutdown(cancel_futures=True)


def _all_unreadable(told: Sequence[Told]) -> list[str]:
    """Every file with the reason, where no image for training can be read."""
    if any(note.kept for split, _, note in told if split == "train"):
        return []
    return [f"{job.files[at]}: {why}" for _, job, note in told for at, why in note.bad.items()]


def _finish(data: Path, told: Sequence[Told], classes: tuple[str, ...], form: Form) -> Prepared:
    """Writes all that belongs beside the shards."""
    kept = [image for one in told for image in _kept(*one)]
    bad = [(job.files[at], why) for _, job, note in told for at, why in note.bad.items()]
    images = Counter(image.split for image in kept)
    twice = list(copies.find(kept))
    _describe(data, told, classes, form)
    content = _catalogue(told, kept, classes)
    catalogue.write(data, content)
    _write_csv(data / BAD, ("file", "reason"), bad)
    _write_csv(data / DUPLICATES, copies.HEADER, (copies.row(copy, classes) for copy in twice))
    present = {image.label for image in kept if image.split == "train"}
    empty = [name for label, name in enumerate(classes) if label not in present]
    return Prepared(data, images, sum(content.sizes.values()), bad, twice, empty)


def _describe(data: Path, told: Sequence[Told], classes: Sequence[str], form: Form) -> None:
    notes: dict[str, list[Note]] = {}
    for split, _, note in told:
        notes.setdefault(split, []).append(note)
    description.write(
        data,
        form.image_format,
        classes,
        {split: [len(note.kept) for note in some] for split, some in notes.items()},
        {split: sum(note.size for note in some) for split, some in notes.items()},
        f"Prepared by jaxft: turned upright, shorter side {form.shorter_side} pixels at most.",
    )


def _catalogue(told: Sequence[Told], kept: Sequence[Kept], classes: tuple[str, ...]) -> Catalogue:
    images = {
        split: [image for image in kept if image.split == split]
        for split in dict.fromkeys(split for split, *_ in told)
    }
    return Catalogue(
        classes,
        catalogue.digest([*classes, *(note.records for *_, note in told)]),
        {Path(job.shard).name: note.size for _, job, note in told},
        {
            split: Listing(
                tuple(image.name for image in some),
                np.asarray([image.label for image in some], np.int32),
            )
            for split, some in images.items()
        },
    )


def _note(job: Job) -> Note:
    note = shard.read_note(job)
    assert note is not None, job.note
    return note


def _kept(split: str, job: Job, note: Note) -> Iterator[Kept]:
    for position, digest in zip(note.kept, note.digests, strict=True):
        yield Kept(split, job.files[position], job.names[position], job.labels[position], digest)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        csv.writer(file).writerows([header, *rows])
