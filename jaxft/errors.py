"""Errors meant for the person who meets them: what is wrong, where, and what would be right."""

import re
from collections.abc import Iterable

# Control characters but the tab and the end of a line, those that turn the direction of writing,
# and what is left of bytes that are no UTF-8.
UNPRINTABLE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: object) -> str:
    r"""Return a text that a terminal shows and does not obey: `\u001b` for an escape.

    Names of files and classes may hold anything. JSON means the same afterwards.
    """
    return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", str(text))


def in_a_line(text: object) -> str:
    """Return a name or a path as `printable` does, without ends of lines, which could fake one."""
    return printable(text).replace("\n", "\\u000a")


class UserError(Exception):
    """A mistake in the user's input; the command line prints it without a traceback and exits 2.

    Args:
      title: one line saying what is wrong.
      offenders: every offender, one line each; all of them are listed.
      hint: what would be right.

    Attributes:
      everywhere: every process of the run raises it, so that one of them may tell it for all.
    """

    everywhere = False

    def __init__(self, title: str, offenders: Iterable[str] = (), hint: str = "") -> None:
        self.title = title
        self.offenders = tuple(offenders)
        self.hint = hint
        lines = [in_a_line(title), *(f"  - {in_a_line(offender)}" for offender in self.offenders)]
        super().__init__("\n".join(lines + ([printable(hint)] if hint else [])))


def unusable_data(place: object, problems: Iterable[str]) -> UserError:
    """All that keeps what lies in a place from being used as a data set."""
    return UserError(f"{place} can't be used as a data set:", problems)


class Interrupted(Exception):
    """The run was told to stop; what it had reached is saved. The command line exits 75."""


class NonFiniteError(Exception):
    """Training produced a loss that is not finite; the command line exits 3.

    Args:
      told: what happened.
      hint: what to do.
      step: of the phase, in which it happened; None after a validation.

    Attributes:
      examples: names of the validation images whose loss is not finite.
      report: on it in short, "" before there is one.
    """

    def __init__(
        self, told: str, hint: str = "Try a lower learning rate.", step: int | None = None
    ) -> None:
        self.told, self.step = told, step
        self.examples: tuple[str, ...] = ()
        self.report = ""
        super().__init__(f"{told}. {hint}")
