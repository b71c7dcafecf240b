"""Freed memory is kept: big blocks that are needed again cost no page faults."""

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes
import resource
import threading
from jaxft.runtime import allocator

KEEP
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [libc.malloc(SIZE) for _ in range(BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, SIZE)
    for block in blocks:
        libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def twice():
    faults()
    print(faults())

twice() if MAIN else threading.Thread(target=twice).start()
"""
MEGABYTE = 2**20
PAGES = MEGABYTE // 4096


def count_faults(keep: str, size: int, blocks: int, main: bool = True) -> int:
    program = PROGRAM.replace("KEEP", keep).replace("BLOCKS", str(blocks))
    program = program.replace("SIZE", str(size)).replace("MAIN", str(main))
    return int(subprocess.check_output([sys.executable, "-c", program], text=True))


@pytest.mark.parametrize(
    "keep, megabytes, blocks, main",
    [
        ("memory", 64, 1, True),
        ("images", 1, 16, True),
        ("images", 1, 16, False),
        ("images", 12, 2, True),
        ("images", 12, 2, False),
    ],
)
def test_blocks_are_not_faulted_in_again(keep, megabytes, blocks, main):
    how = megabytes * MEGABYTE, blocks, main
    pages = blocks * megabytes * PAGES
    assert count_faults("", *how) > pages / 2, (
        "this machine returns nothing: the test shows nothing"
    )
    assert count_faults(f"assert allocator.keep_freed_{keep}()", *how) < pages / 100
