"""Images that were seen whole, remembered in a cache directory."""

import hashlib
import os
from contextlib import suppress

from jaxft.runtime import paths

FILE = "whole_images.txt"


def digest(identity: str) -> str:
    """Digest of a text, 32 hexadecimal digits."""
    return hashlib.sha256(identity.encode(errors="surrogateescape")).hexdigest()[:32]


def recall(cache_dir: str | os.PathLike[str] | None) -> set[str]:
    """Digests that earlier calls remembered there."""
    if cache_dir is None:
        return set()
    place = paths.of(cache_dir) / FILE
    try:
        files = place.iterdir() if paths.is_remote(place) else (place,)
        return {
            line for file in files for line in paths.read(file).decode(errors="replace").split("\n")
        }
    except OSError:
        return set()


def remember(cache_dir: str | os.PathLike[str] | None, digests: list[str]) -> None:
    """Append digests; a line cut short by a crash or a full disk costs a second look at one file.

    Nothing can be appended to an object: in a bucket every call adds one, named by its content.
    """
    if cache_dir is None or not digests:
        return
    place, lines = paths.of(cache_dir) / FILE, "\n" + "\n".join(digests) + "\n"
    with suppress(OSError):
        if paths.is_remote(place):
            paths.write(place / digest(lines), lambda file: file.write(lines.encode()))
            return
        paths.make_folder(place.parent)
        with open(place, "a") as file:
            file.write(lines)
