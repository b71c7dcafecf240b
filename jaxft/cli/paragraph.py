"""Text in lines that fit a terminal."""

import textwrap

WIDTH = 80  # columns


def paragraph(text: str, indent: str = "    ") -> list[str]:
    """Lines of a text, indented; paths and commands stay whole."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
