"""Freed memory stays in hand: the second big block costs no page faults."""

import subprocess
import sys

PROGRAM = """
import resource
import numpy as np
from jaxft import allocator

KEEP
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(64 * 2**20 // 8)
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
