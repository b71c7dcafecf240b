"""Changes to good files, as Hypothesis draws and shrinks them: of bytes, of JSON, of a table."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

MOST_CHANGES = 6
MOST_ADDED = 64
# Values that no field of a description should have, or that only one kind of field may have.
NUMBERS = (True, 0, -1, 1 << 70, 10**400, 1e308)
ODD: tuple[Any, ...] = (None, *NUMBERS, "", "x", "\x1b]0;owned\x07", "../..", [], {})
ODD_BYTES = (b"\0", b"\xff", b"\x80", b"\n", b"'\"", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"=")


@st.composite
def of_bytes(draw: st.DrawFn, good: Sequence[bytes]) -> bytes:
    """One of some files with a few of its bytes changed, or cut short."""
    data = bytearray(draw(st.sampled_from(good)))
    for _ in range(draw(st.integers(1, MOST_CHANGES))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        kind = draw(st.sampled_from(("bit", "byte", "odd", "insert", "drop", "repeat", "cut")))
        if kind == "bit" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "byte" and data:
            data[at] = draw(st.integers(0, 255))
        elif kind == "odd":
            odd = draw(st.sampled_from(ODD_BYTES))
            data[at : at + len(odd)] = odd
        elif kind == "insert":
            data[at:at] = draw(st.binary(max_size=MOST_ADDED))
        elif kind == "drop":
            del data[at : at + draw(st.integers(1, MOST_ADDED))]
        elif kind == "repeat":
            data[at:at] = data[at : at + draw(st.integers(1, MOST_ADDED))]
        elif kind == "cut":
            del data[at:]
    return bytes(data)


@st.composite
def of_json(draw: st.DrawFn, good: Any, without: str = "") -> bytes:
    """A JSON document with a few of its values replaced or left out; a bad text now and then.

    Args:
      draw: Hypothesis's.
      good: the document.
      without: a key of it that is left out, such as that of a digest.
    """
    document = json.loads(json.dumps(good))
    if isinstance(document, dict):
        document.pop(without, None)
    for _ in range(draw(st.integers(1, MOST_CHANGES))):
        document = _replaced(document, draw)
    text = json.dumps(document)
    if draw(st.integers(0, 9)) == 0:
        text = text.replace(draw(st.sampled_from('{}[]",:')), draw(st.sampled_from('{["0n')), 1)
    return text.encode()


def _replaced(value: Any, draw: st.DrawFn) -> Any:
    """Walk down a document, and change what is there at the end of the way."""
    if isinstance(value, dict | list) and value and draw(st.integers(0, 5)):
        keys: list[Any] = sorted(value) if isinstance(value, dict) else [*range(len(value))]
        key = draw(st.sampled_from(keys))
        if draw(st.integers(0, 7)) == 0:
            del value[key]
        else:
            value[key] = _replaced(value[key], draw)
        return value
    if isinstance(value, str) and draw(st.booleans()):
        return draw(st.text(max_size=12))
    return draw(st.sampled_from(ODD))


@st.composite
def of_one(draw: st.DrawFn, files: dict[str, st.SearchStrategy[bytes]]) -> tuple[str, bytes]:
    """The name of one of several files, and what it holds instead."""
    name = draw(st.sampled_from(sorted(files)))
    return name, draw(files[name])


def within(folder: Any, read: Callable[[], Any]) -> Callable[[tuple[str, bytes]], Any]:
    """Return a function that reads a folder, one file of which holds something else meanwhile."""

    def run(change: tuple[str, bytes]) -> None:
        name, content = change
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        try:
            read()
        finally:
            (folder / name).write_bytes(before)

    return run
