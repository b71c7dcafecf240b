"""The source of a preparation, and the place of its output."""

import os
from pathlib import Path

from jaxft.data import Dataset, Split
from jaxft.data.sources import registry
from jaxft.data.sources.holdout import Whole
from jaxft.errors import UserError
from jaxft.runtime import paths


def free_place(output: str) -> Path:
    """The absolute path of the output.

    Raises:
      UserError: it is in a bucket, or there already.
    """
    if paths.is_remote(output):
        raise UserError(f"{output}: write array_record files to a disk, then copy them")
    place = paths.expanded(output).absolute()
    if os.path.lexists(place):
        raise UserError(f"{place} already exists", hint="Give another --output, or remove it.")
    return place


def demand_apart(place: Path, aside: Path, source: str, splits: dict[str, Split]) -> None:
    """Raise UserError where the output would lie in its source, or the source in `aside`.

    That folder is removed in the end.
    """
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


def listed(source: str) -> tuple[dict[str, Split], Dataset, str]:
    """The source's splits by TFDS's names, its data set, and the folder of its files."""
    kind, _, argument = source.partition(":")
    if kind not in ("folder", "csv"):
        raise UserError(f'"{source}" can\'t be prepared', hint="known: folder:PATH, csv:FILE")
    found = registry.open_held_out(source, Whole())
    splits = {"train": found.train, "validation": found.valid}
    if found.test:
        splits["test"] = found.test
    place = paths.of(argument)
    base = os.fspath(place if kind == "folder" else place.parent).rstrip("/")
    return {name: split for name, split in splits.items() if len(split)}, found, base
