"""`jaxft cache`."""

import re
from argparse import ArgumentParser, Namespace
from pathlib import Path

from jaxft.errors import UserError
from jaxft.runtime.sizes import in_words, parse

HELP = "what the cache of features and compiled programs holds; prune it"
SECONDS = {"h": 3600.0, "d": 86400.0, "w": 604800.0}


def add(parser: ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument(
        "--cache-dir",
        "--cache_dir",
        default="",
        metavar="DIR",
        help="as config.cache_dir (default: the user's cache)",
    )
    parser.add_argument(
        "--prune",
        action="store_true",
        help="remove entries, as the next two flags say; a run in progress computes them again",
    )
    parser.add_argument(
        "--older-than",
        "--older_than",
        default="",
        metavar="AGE",
        help="those not used for so long, such as 12h, 30d or 8w",
    )
    parser.add_argument(
        "--max-size",
        "--max_size",
        default="",
        metavar="SIZE",
        help="the least recently used, until no more are left than this, such as 500MB or 10GB",
    )
    parser.add_argument(
        "--dry-run", "--dry_run", action="store_true", help="say what --prune would remove"
    )


def run(options: Namespace) -> int:
    """Print what the cache holds, and prune it; return the exit code."""
    older_than, max_size = _bounds(options)
    directory = _directory(options.cache_dir)

    from jaxft.materials import stored

    found = stored.entries(directory)
    print(stored.text(directory, found))
    if options.prune:
        chosen = stored.doomed(found, older_than, max_size)
        entries = "entry" if len(chosen) == 1 else "entries"
        told = f"{len(chosen):,} {entries}, {in_words(sum(entry.size for entry in chosen))}"
        if options.dry_run:
            print(f"to prune: {told}")
        else:
            stored.remove(chosen)
            print(f"pruned: {told}")
    return 0


def _bounds(options: Namespace) -> tuple[float | None, int | None]:
    """Return the age in seconds and the size in bytes that are asked for.

    Raises:
      UserError: lists all flags that make no sense.
    """
    problems = []
    older_than = max_size = None
    if options.older_than:
        match = re.fullmatch(r"(\d+)([hdw])", options.older_than)
        if match:
            older_than = int(match[1]) * SECONDS[match[2]]
        else:
            problems.append(f"--older-than: {options.older_than!r} is no age such as 12h or 30d")
    if options.max_size:
        try:
            max_size = parse(options.max_size)
        except ValueError as error:
            problems.append(f"--max-size: {error}")
    bounded = options.older_than or options.max_size
    if options.prune and not bounded:
        problems.append("--prune takes --older-than, --max-size or both")
    if not options.prune and (bounded or options.dry_run):
        problems.append("--older-than, --max-size and --dry-run take --prune")
    if problems:
        raise UserError("These flags make no sense:", problems)
    return older_than, max_size


def _directory(given: str) -> Path:
    from jaxft.runtime.folders import cache_directory

    found = cache_directory(given)
    if not isinstance(found, Path):
        raise UserError(
            f"{given} is in a bucket",
            hint="Its lifecycle rules prune by age; a run computes again what has vanished.",
        )
    if not found.is_dir():
        raise UserError(f"{found} is no folder", hint="No run has used this cache yet.")
    return found
