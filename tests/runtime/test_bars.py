"""Progress from Python: bars in a terminal and a notebook, lines alone in a file."""

import io
import sys
import warnings
from types import ModuleType, SimpleNamespace

import pytest
from tqdm import TqdmWarning, tqdm

from jaxft.runtime import console


class Terminal(io.StringIO):
    """A text that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def notebook(monkeypatch):
    """A kernel, as IPython tells of it, and as tqdm recognises it."""
    monkeypatch.setitem(sys.modules, "ipykernel.zmqshell", ModuleType("zmqshell"))
    shell = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))


def drawn(monkeypatch, stream):
    """All that a bar and a line leave on stdout, and the class of the bar."""
    monkeypatch.setattr(sys, "stdout", stream)
    told = console.for_python()
    with told.bar(2, "reading") as bar:
        bar.update()
        bar.refresh()
    told.say("done")
    return stream.getvalue(), type(bar)


def test_a_terminal_has_bars_and_a_file_has_none(monkeypatch):
    assert "reading:  50%" in drawn(monkeypatch, Terminal())[0]
    assert drawn(monkeypatch, io.StringIO()) == ("done\n", tqdm)


def test_a_notebook_has_bars_and_no_word_about_widgets(monkeypatch, notebook):
    for name in ("tqdm.auto", "tqdm.autonotebook"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr("tqdm.notebook.IProgress", None)  # no ipywidgets
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", TqdmWarning)
        text, kind = drawn(monkeypatch, io.StringIO())
    assert told == []
    assert "reading:  50%" in text and text.endswith("done\n")
    assert kind is sys.modules["tqdm.auto"].tqdm is not tqdm


def test_ipython_in_a_terminal_is_a_terminal(monkeypatch):
    shell = SimpleNamespace(config={})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert drawn(monkeypatch, io.StringIO()) == ("done\n", tqdm)
