"""Lines for a person: folded for a terminal, and dropped where nobody reads them."""

import io
import os
import subprocess
import sys

import pytest
from places import ROOT

from jaxft.runtime.console import Console
from jaxft.runtime.lines import WIDTH, folded

READERS_GONE = """
import os, sys
from jaxft.runtime.console import Console
console = Console(sys.stdout)
console.say("first")
os.read(0, 1)  # until the reader has gone
for _ in range(3):
    console.say("more")
print("a library's line")
os.write(2, b"still here")
"""


@pytest.mark.parametrize("streams", ["stdout", "both"])
def test_a_reader_that_goes_ends_nothing(streams):
    out, into = os.pipe()
    script = [sys.executable, "-c", READERS_GONE]
    process = subprocess.Popen(
        script,
        stdin=subprocess.PIPE,
        stdout=into,
        stderr=into if streams == "both" else subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )
    os.close(into)
    assert os.read(out, 100) == b"first\n"
    os.close(out)
    _, err = process.communicate(b"x")
    assert process.returncode == 0
    assert err == (None if streams == "both" else b"still here")


def test_what_fits_stays_as_it_is():
    text = f"{'x' * WIDTH}\n  two  columns\n"
    assert folded(text) == text


def test_a_long_line_goes_on_further_in():
    lines = folded("  " + "word " * 40).splitlines()
    assert len(lines) == 3 and max(map(len, lines)) <= WIDTH
    assert [len(line) - len(line.lstrip()) for line in lines] == [2, 4, 4]
    assert " ".join(line.strip() for line in lines) == " ".join(["word"] * 40)


def test_the_last_column_of_a_long_line_goes_on_below_itself():
    first, *others = folded(f"* rule    1.0e-03  {'reason ' * 20}").splitlines()
    column = first.index("reason")
    assert others and all(line.startswith(" " * column + "reason") for line in others)


def test_a_word_stays_whole():
    path = "/a-b/" * 30
    assert path in folded(f"everything is in {path}").splitlines()[1]


def test_a_column_far_to_the_right_is_left_alone():
    line = f"{'x' * 60}  {'y ' * 40}"
    assert folded(line) == line


def test_prose_is_folded_and_lines_are_not():
    stream = io.StringIO()
    Console(stream).tell("word " * 20)
    Console(stream).say("word " * 20)
    first, second, third = stream.getvalue().splitlines()
    assert len(first) <= WIDTH and second.startswith("  word") and len(third) == 100
