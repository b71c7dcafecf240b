"""CSV that no spreadsheet runs, and that is read as it was written."""

import io
import random

import pytest

from jaxft.runtime import csv_rows

SIGNS = "=+-@\t\r\n\0＝"  # noqa: RUF001


def written(*rows):
    raw = io.BytesIO()
    csv_rows.fill(raw, ["file", "label"], rows)
    return raw.getvalue().decode(errors="surrogateescape")


@pytest.mark.parametrize("sign", SIGNS)
def test_no_cell_begins_with_a_sign(sign):
    assert csv_rows.defused(f"{sign}cmd") == f"'{sign}cmd"


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("=HYPERLINK(1).png", "'=HYPERLINK(1).png"),
        ("x;=cmd|' /C calc'!A0", "x;'=cmd|' /C calc'!A0"),
        ("'=x", "''=x"),
        ("a=b+c-d@e.png", "a=b+c-d@e.png"),
        ("it's.png", "it's.png"),
        ("-1.5e-07", "-1.5e-07"),
        ("+1-800", "'+1-800"),
        (-1.5, -1.5),
    ],
)
def test_what_could_be_run_is_defused_and_nothing_else(cell, told):
    assert csv_rows.defused(cell) == told
    assert csv_rows.restored(told) == cell


def test_any_text_comes_back():
    draw = random.Random(0)
    for _ in range(3000):
        text = "".join(draw.choices(SIGNS + "';, a1", k=draw.randrange(7)))
        safe = csv_rows.defused(text)
        assert csv_rows.restored(safe) == text
        assert safe[:1] not in SIGNS or not safe or csv_rows.NUMBER.fullmatch(safe)


def test_names_and_header_come_back_from_a_file():
    raw = io.BytesIO()
    csv_rows.fill(raw, ["file", "@class"], [["=a,\"b'.png", "-x"], ["caf\udce9", "1"]])
    found = [*csv_rows.read(raw.getvalue().decode(errors="surrogateescape"))]
    assert found == [
        {"file": "=a,\"b'.png", "@class": "-x"},
        {"file": "caf\udce9", "@class": "1"},
    ]
    assert raw.getvalue().startswith(b"file,'@class\r\n")


def test_a_program_gets_every_cell_as_it_is():
    raw = io.BytesIO()
    csv_rows.fill_exactly(raw, ["id", "label"], [["-5KQ66.jpg", "=x"]])
    assert raw.getvalue() == b"id,label\r\n-5KQ66.jpg,=x\r\n"
