"""Tables of text."""

from collections.abc import Iterable, Mapping, Sequence


def table_lines(columns: Mapping[str, str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lay out a table as lines: its head, a rule, and a line per row.

    Args:
      columns: title -> format of its cells, such as `>9`.
      rows: a cell for each column.
    """
    head, *lines = (
        " ".join(format(cell, form) for cell, form in zip(row, columns.values(), strict=True))
        for row in (tuple(columns), *rows)
    )
    return [head, "-" * len(head), *lines]
