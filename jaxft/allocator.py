"""Keep the memory that a CPU step frees, instead of handing it to the kernel and back each step.

XLA's CPU client allocates a program's temporary buffers for every execution, hundreds of megabytes
for a train step. glibc serves blocks of that size by mmap and returns them by munmap, so that every
step faults in, and has the kernel zero, all its pages again: a third to a half of a step's time.
"""

import ctypes
import sys

import jax

# Names and numbers of glibc's <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed blocks for the next step; returns whether that was done.

    Does nothing on accelerators, whose memory is not glibc's, and on other C libraries.
    """
    if not sys.platform.startswith("linux") or jax.default_backend() != "cpu":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_ARENA_MAX, 1))
    return all([mallopt(parameter, value) == 1 for parameter, value in settings])
