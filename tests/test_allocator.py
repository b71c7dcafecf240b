"""Freed memory stays in hand: the second big block costs no page faults."""

import subprocess
import sys

PROGRAM = """
import ctypes
import resource
from jaxft import allocator

KEEP
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = ctypes.c_void_p(libc.malloc(64 * 2**20))
    ctypes.memset(block, 1, 64 * 2**20)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
"""


def count_faults(keep: str) -> int:
    out = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("KEEP", keep)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return int(out)


def test_a_second_block_is_not_faulted_in_again() -> None:
    pages = 64 * 2**20 // 4096
    assert count_faults("") > pages / 2, "this machine returns nothing: the test shows nothing"
    assert count_faults("assert allocator.keep_freed_memory()") < pages / 100
