"""Lines of text that fit a terminal."""

import re
import textwrap

WIDTH = 80  # columns
WIDEST_HANG = 40  # a column that begins further right has too little room


def folded(text: str, hang: int = 2) -> str:
    """Fold the lines of a text that are too long; words, so paths and commands, stay whole.

    Args:
      text: any number of lines.
      hang: spaces, besides the line's own, before what is folded. In a line with columns, which
        two spaces part, it is the last column that goes on below its beginning.
    """
    return "\n".join(_folded(line, hang) for line in text.split("\n"))


def _folded(line: str, hang: int) -> str:
    if len(line) <= WIDTH:
        return line
    gaps = [gap.end() for gap in re.finditer(r"(?<=\S) {2,}(?=\S)", line)]
    begin = gaps[-1] if gaps else len(line) - len(line.lstrip())
    if begin > WIDEST_HANG:
        return line
    return textwrap.fill(
        line[begin:],
        WIDTH,
        initial_indent=line[:begin],
        subsequent_indent=" " * (begin if gaps else begin + hang),
        break_long_words=False,
        break_on_hyphens=False,
    )
