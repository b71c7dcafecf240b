"""`jaxft keys`."""

import difflib
from argparse import ArgumentParser, Namespace

from jaxft.errors import UserError
from jaxft.runtime.lines import folded

HELP = "list the keys of a config: type, default, explanation"


def add(parser: ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument(
        "part",
        nargs="?",
        default="",
        metavar="PART",
        help="of the keys' names, such as phases or lr (default: all keys)",
    )


def run(options: Namespace) -> int:
    """Print the keys; return the exit code."""
    print("\n".join(listed(options.part)))
    return 0


def listed(part: str) -> list[str]:
    """Two lines or more for each key whose name has a part.

    Raises:
      UserError: none has; says what may be meant.
    """
    from jaxft.config.keys import keys

    part = part.removeprefix("--").removeprefix("config.")
    every = keys()
    found = [key for key in every if part in key.path]
    if not found:
        words = dict.fromkeys(word for key in every for word in (key.path, *key.path.split(".")))
        near = difflib.get_close_matches(part, words, n=1)
        hint = f"Did you mean {near[0]}?" if near else "`jaxft keys` lists all of them."
        raise UserError(f"No key has {part!r} in its name", hint=hint)
    return [
        line
        for key in found
        for line in (
            f"{key.path}  {key.kind}, default {key.default!r}",
            folded(f"    {key.told}", 0),
        )
    ]
