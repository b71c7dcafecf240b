"""Names that would command a terminal are shown and not obeyed."""

import io
import json

import pytest

from jaxft.cli import main
from jaxft.errors import UserError, printable
from jaxft.runtime.console import Console

OWNED = "\x1b]0;owned\x07 \x9b31m \u202egpj.exe caf\udce9"
SHOWN = "\\u001b]0;owned\\u0007 \\u009b31m \\u202egpj.exe caf\\udce9"


def test_what_a_terminal_would_obey_is_spelt_and_the_rest_left():
    assert printable(OWNED) == SHOWN
    assert printable("naïve 写真 👩‍🔬\tx\ny") == "naïve 写真 👩‍🔬\tx\ny"


def test_json_means_the_same_afterwards():
    text = json.dumps({"\x7f\x9b": OWNED}, ensure_ascii=False)
    assert json.loads(printable(text)) == {"\x7f\x9b": OWNED}


def test_console_and_errors_spell_it():
    stream = io.StringIO()
    Console(stream).say(OWNED)
    assert stream.getvalue() == f"{SHOWN}\n"
    error = UserError(OWNED, [OWNED], OWNED)
    assert str(error) == f"{SHOWN}\n  - {SHOWN}\n{SHOWN}"
    assert error.offenders == (OWNED,), "for a program it is as it was"


@pytest.mark.parametrize("kind", [UserError, OSError, RuntimeError])
def test_the_command_line_spells_it(kind, monkeypatch, capsys):
    def fail(arguments):
        raise kind(OWNED)

    monkeypatch.setattr(main, "_run", fail)
    main.main([])
    told = capsys.readouterr().err
    assert SHOWN in told and not set(OWNED) & set(told) & set("\x1b\x07\x9b\u202e")
