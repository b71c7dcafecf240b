"""A file in MNIST's format, decoded.

It holds two zero bytes, the type of its numbers (8: unsigned bytes), the number of dimensions, each
dimension as a big-endian 32-bit number, and then the numbers; packed by gzip or not.
"""

import gzip
import io
import math
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

UNSIGNED_BYTES = 8
CHUNK_BYTES = 2**20
# Real images are packed to a tenth at best; a file that unpacks to this much may be a trap.
SMALL_BYTES = 2**26
MOST_TIMES = 100


def read_idx(packed: bytes, dimensions: Sequence[int]) -> UInt8[np.ndarray, "..."]:
    """The array of a file of unsigned bytes, itself packed by gzip or not.

    No more is unpacked than the header tells, and MOST_TIMES the packed size.

    Args:
      packed: the file.
      dimensions: numbers of dimensions that it may have.

    Raises:
      ValueError: saying what is wrong with it.
    """
    file = io.BytesIO(packed)
    plain = gzip.GzipFile(fileobj=file) if packed.startswith(b"\x1f\x8b") else file
    try:
        shape = _read_header(plain, dimensions)
        size = math.prod(shape)
        if plain is not file and size > max(SMALL_BYTES, MOST_TIMES * len(packed)):
            raise ValueError(_too_much(shape, len(packed)))
        content = _read_up_to(plain, size + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"damaged gzip file: {error}") from None
    except MemoryError:
        raise ValueError(f"its header says {in_words(shape)}: no memory for that much") from None
    if len(content) != size:
        there = "more" if len(content) > size else f"{len(content):,}: it is truncated"
        raise ValueError(f"its header says {in_words(shape)}, {size:,} bytes, but it has {there}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _read_header(plain: io.BufferedIOBase, dimensions: Sequence[int]) -> tuple[int, ...]:
    magic = plain.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise ValueError(f"not an idx file: begins with 0x{magic.hex()}" if magic else "empty file")
    if magic[2] != UNSIGNED_BYTES:
        raise ValueError(f"holds numbers of type 0x{magic[2]:02x}, not unsigned bytes (0x08)")
    if magic[3] not in dimensions:
        wanted = " or ".join(map(str, dimensions))
        raise ValueError(f"has {magic[3]} dimensions, but should have {wanted}")
    counts = plain.read(4 * magic[3])
    if len(counts) < 4 * magic[3]:
        raise ValueError("its header is truncated")
    return struct.unpack(f">{magic[3]}I", counts)


def _read_up_to(plain: io.BufferedIOBase, limit: int) -> bytes:
    """Read all, `limit` bytes at most, in steps: a large read may set all its memory aside."""
    chunks, left = [], limit
    while left and (chunk := plain.read(min(left, CHUNK_BYTES))):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def _too_much(shape: Sequence[int], packed: int) -> str:
    told = f"its header says {in_words(shape)}, {math.prod(shape):,} bytes"
    return f"{told}, of {packed:,} packed ones; if that is right, unpack it by gunzip"


def in_words(shape: Sequence[int]) -> str:
    """A shape, such as "10 x 28 x 28"."""
    return " x ".join(map(str, shape))
