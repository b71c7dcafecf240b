"""Words of a command line as people type them, turned into those that the parser takes."""

import difflib
from argparse import ArgumentParser
from collections.abc import Collection, Sequence
from typing import NamedTuple

from jaxft.cli.overrides import PREFIX, takes_no_value
from jaxft.errors import UserError

HELP, VERSION = ("-h", "--help"), "--version"


class Words(NamedTuple):
    """A command line: its words for the parser, and its settings of keys of the config."""

    plain: list[str]
    overrides: list[str]


def of_verb(words: Sequence[str], verbs: Collection[str]) -> list[str]:
    """Return the words with the verb as the parser knows it; `help VERB` becomes `VERB --help`.

    Raises:
      UserError: no such verb, or no such flag before it; says what may be meant.
    """
    first, *rest = words
    if first == "help":
        return [*(of_verb(rest[:1], verbs) if rest else ()), HELP[1]]
    if first in (*HELP, VERSION):
        return [first]
    if first.startswith("-"):
        raise UserError(
            f"Unknown flag {first}{_meant(first, (*HELP, VERSION))}", hint="A verb comes first."
        )
    verb = first.replace("-", "_")
    if verb not in verbs:
        raise UserError(
            f"There is no verb {first}{_meant(verb, (*verbs, 'help'))}",
            hint=f"The verbs are: {', '.join(verbs)}.",
        )
    return [verb, *rest]


def sorted_out(words: Sequence[str], known: Collection[str]) -> Words:
    """Part the settings of keys from the other words, which get the dashes of the known flags.

    A key and its value may be one word, `--config.seed=1`, or two.
    """
    plain: list[str] = []
    overrides: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            return Words([*plain, word, *waiting], overrides)
        if word.startswith(PREFIX):
            if "=" not in word and _has_value(word, waiting[:1]):
                word = f"{word}={waiting.pop(0)}"
            overrides.append(word)
        else:
            plain.append(_as_known(word, known))
    return Words(plain, overrides)


def _has_value(word: str, following: Sequence[str]) -> bool:
    """Tell whether the word after a key is its value."""
    if not following or following[0].startswith("--"):
        return False
    return not takes_no_value(word, following[0])


def _as_known(word: str, known: Collection[str]) -> str:
    """Spell a flag with the dashes or underscores that the parser has."""
    flag, equals, value = word.partition("=")
    if not flag.startswith("--") or flag in known:
        return word
    same = {name.replace("_", "-"): name for name in known}
    return f"{same.get(flag.replace('_', '-'), flag)}{equals}{value}"


def flags_of(parser: ArgumentParser) -> list[str]:
    """List the flags of a parser, such as `--workdir`."""
    return [flag for action in parser._actions for flag in action.option_strings]


def unknown_flags(words: Sequence[str], known: Collection[str]) -> list[str]:
    """List the words that look like flags and are none."""
    until = words.index("--") if "--" in words else len(words)
    return [
        word
        for word in words[:until]
        if word.startswith("--") and word.partition("=")[0] not in known
    ]


def _meant(word: str, known: Collection[str]) -> str:
    found = near(word, known)
    return f"; did you mean {found}?" if found else ""


def near(word: str, known: Collection[str]) -> str:
    """Return the known word that is most like another, "" where none is like it."""
    return next(iter(difflib.get_close_matches(word, known, n=1)), "")
