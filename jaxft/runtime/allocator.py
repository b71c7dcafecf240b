"""Keep freed memory in hand, for the next step on the CPU or the next image.

XLA's CPU client allocates a program's temporary buffers for every execution, hundreds of megabytes
for a train step. glibc serves blocks of that size by mmap and returns them by munmap, so that every
step faults in, and has the kernel zero, all its pages again: a third of a step's CPU time. Served
from the heap, and the heap in pages of 2 MB instead of 4 KB, they cost nothing, and the translation
of addresses costs less. Measured in bench/README.md.
"""

import ctypes
import os
import sys

# Names and numbers of glibc's <malloc.h> and Linux's <sys/mman.h>.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
MOST_MMAP_THRESHOLD = 32 * 2**20  # more is refused
MADV_HUGEPAGE = 14
HUGE_PAGE = 2 * 2**20


def keep_freed_images() -> bool:
    """Tell glibc to keep freed blocks of up to 32 MB for the next image; return True where done.

    For processes that decode and do not compute: the buffers of a photo are large enough for mmap,
    too, and threads that fault pages in wait for each other.
    """
    return _set((M_MMAP_THRESHOLD, MOST_MMAP_THRESHOLD), (M_TRIM_THRESHOLD, -1)) is not None


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed blocks for the next step; return True where that was done.

    For processes that compute on the CPU; does nothing where the C library is not glibc. It acts on
    the heap of the main thread, where XLA allocates if JAX's asynchronous dispatch on CPU is off.
    (One heap for all threads would do too, but then XLA's compiling threads wait for each other:
    12 s for a train step that takes 8 s.)
    """
    libc = _set((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1))
    if libc is not None:
        _use_huge_pages(libc)
    return libc is not None


def _set(*settings: tuple[int, int]) -> ctypes.CDLL | None:
    """Set these parameters of malloc; return the C library, or None where that is impossible."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return None
    done = all([libc.mallopt(parameter, value) == 1 for parameter, value in settings])
    return libc if done else None


def _use_huge_pages(libc: ctypes.CDLL) -> None:
    """Reserve addresses for half of the machine's memory in the heap, marked for huge pages.

    Nothing is touched, so nothing is occupied; freed at once, the addresses stay the heap's. Where
    the kernel refuses, the heap just stays as it is.
    """
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    block = libc.malloc(size)
    if block is None:
        return
    start = -(-block // HUGE_PAGE) * HUGE_PAGE
    libc.madvise(start, (block + size - start) // HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE)
    libc.free(block)
