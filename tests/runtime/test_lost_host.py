"""Words of the service that JAX's processes share, and an abort from C++."""

import subprocess
import sys

import pytest

from jaxft.runtime import lost_host

# As C++ does it: it writes to the stream of errors, and aborts.
SCRIPT = """
import atexit, os, sys
from jaxft.runtime import lost_host

if sys.argv[1] == "exit":  # called after what `watch` registers
    atexit.register(lambda: (os.write(2, b"last words\\n"), os._exit(0)))
lost_host.watch()
print("python's own", file=sys.stderr)
end = b"" if sys.argv[1] == "break off" else b"\\n"
os.write(2, "\\n".join(sys.argv[2:]).encode() + (end if sys.argv[2:] else b""))
if sys.argv[1] in ("abort", "break off"):
    os.abort()
"""
FATAL = "F1127 12:00:00.0 7 client.h:77] Terminating process because the JAX distributed service"


def run(*words):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stderr.splitlines()


def test_an_abort_by_the_service_is_an_interruption_in_one_line():
    code, told = run("abort", "a warning", FATAL, "  more of it")
    assert code == 75
    assert told == ["python's own", "a warning", lost_host.TOLD]


def test_another_abort_stays_one_with_all_of_its_words():
    code, told = run("abort", "Check failed: x > 0", "*** stack ***")
    assert code == -6
    assert told == ["python's own", "Check failed: x > 0", "*** stack ***"]
    assert run("break off", "one", "half a li") == (-6, ["python's own", "one", "half a li"])


def test_what_libraries_write_passes():
    assert run("end", "one", "two") == (0, ["python's own", "one", "two"])


def test_what_libraries_write_as_the_process_ends_waits_for_no_thread():
    code, told = run("exit")
    assert code == 0 and told == ["python's own", "last words"]


class JaxRuntimeError(RuntimeError):
    """Named as JAX's own."""


@pytest.mark.parametrize(
    "error, wanted",
    [
        (JaxRuntimeError("FAILED_PRECONDITION: Gloo all-reduce failed: Connection closed"), True),
        (JaxRuntimeError("UNAVAILABLE: Socket closed"), True),
        (JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"), False),
        (ValueError("Connection closed"), False),
    ],
)
def test_signs_of_a_lost_process_are_errors_of_jax_about_it(error, wanted, monkeypatch):
    assert not lost_host.is_sign(error)  # alone, nobody can be lost
    monkeypatch.setattr(lost_host, "_kept", [object()])
    assert lost_host.is_sign(error) == wanted
