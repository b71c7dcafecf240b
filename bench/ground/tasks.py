"""The tasks, and the half each is in: fixed before any setting was compared on them."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import folder_data
import numpy as np
from folder_data import Example

from ground import drawings, glyphs, made_up, sounds, tiles

HALVES = ("decide", "confirm")


class Task(NamedTuple):
    """A classification task.

    Attributes:
      examples: draws a split ("train" or "valid") of so many labelled pictures.
      near: it is near to ImageNet (photographs and drawings of objects).
      half: decide, where settings are chosen; confirm, where the choice is held against.
      train, valid: images.
    """

    name: str
    examples: Callable[[np.random.Generator, str, int], Iterator[Example]]
    near: bool
    half: str
    train: int
    valid: int


TASKS = (
    Task("scenes", folder_data.scenes, near=False, half="decide", train=1000, valid=400),
    Task("things", drawings.things, near=True, half="decide", train=1200, valid=400),
    Task("emoji", drawings.emoji, near=True, half="decide", train=900, valid=400),
    Task("photographs", tiles.photographs, near=True, half="decide", train=780, valid=416),
    Task("letters", glyphs.letters, near=False, half="decide", train=2600, valid=520),
    Task("words", sounds.words, near=False, half="decide", train=300, valid=360),
    Task("cells", made_up.cells, near=False, half="decide", train=1200, valid=500),
    Task("garments", folder_data.garments, near=False, half="confirm", train=1000, valid=400),
    Task("digits", folder_data.digits, near=False, half="confirm", train=1000, valid=400),
    Task("stamps", folder_data.stamps, near=True, half="confirm", train=1000, valid=400),
    Task("animals", drawings.animals, near=True, half="confirm", train=400, valid=400),
    Task("surfaces", tiles.surfaces, near=True, half="confirm", train=450, valid=450),
    Task("scripts", glyphs.scripts, near=False, half="confirm", train=2050, valid=492),
    Task("counts", made_up.counts, near=False, half="confirm", train=1000, valid=400),
)


def chosen(names: str, half: str) -> list[Task]:
    """Tasks by names (comma-separated; "" = all) and half ("all" = both).

    Raises:
      SystemExit: lists the names that no task has.
    """
    wanted = [name for name in names.split(",") if name]
    unknown = sorted(set(wanted) - {task.name for task in TASKS})
    if unknown:
        known = ", ".join(task.name for task in TASKS)
        raise SystemExit(f"no such task: {', '.join(unknown)}; there are {known}")
    return [
        task for task in TASKS if (not wanted or task.name in wanted) and half in ("all", task.half)
    ]


def write(task: Task, folder: Path) -> None:
    """Writes folder/{train,valid}/CLASS/NUMBER.jpg, unless it is there; whole or not at all."""
    if folder.is_dir():
        return
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    for number, split in enumerate(("train", "valid")):
        random = np.random.default_rng(number)
        for i, (label, image) in enumerate(task.examples(random, split, getattr(task, split))):
            place = part / split / label
            place.mkdir(parents=True, exist_ok=True)
            image.save(place / f"{i:05}.jpg", quality=90)
    part.rename(folder)
