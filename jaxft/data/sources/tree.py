"""A folder of images with its folders, on a disk or in a bucket."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from jaxft.data.images.names import is_image_name
from jaxft.data.sources import bucket
from jaxft.errors import UserError
from jaxft.runtime import paths


@runtime_checkable
class Tree(Protocol):
    """A folder; hidden files and folders do not count, nor do folders like __MACOSX."""

    def __str__(self) -> str: ...

    @property
    def name(self) -> str:
        """The last part of its path."""

    @property
    def identity(self) -> Mapping[str, str]:
        """Content identity by file, as far as it is known without looking at each file."""

    def folders(self) -> "list[Tree]":
        """The folders in it, by name."""

    def files(self) -> Iterator[str]:
        """Every file below it, sorted."""

    def images(self) -> Iterator[str]:
        """Every file below it that is an image by its name, sorted."""

    def loose(self) -> int:
        """Number of image files in it, and in none of its folders."""


JUNK = ("__MACOSX", "__pycache__")  # folders that programs leave beside classes


def open_tree(path: str) -> Tree:
    """The folder of a path.

    Raises:
      UserError: there is none.
    """
    if paths.is_remote(path):
        return BucketTree(path.rstrip("/"))
    root = paths.expanded(path)
    if not root.is_dir():
        raise UserError(f"no such folder: {root}" if not root.exists() else f"no folder: {root}")
    return DiskTree(root)


class DiskTree:
    """A folder of this machine."""

    identity: Mapping[str, str] = {}

    def __init__(self, root: Path) -> None:
        self._root = root

    def __str__(self) -> str:
        return str(self._root)

    @property
    def name(self) -> str:
        return self._root.name

    def folders(self) -> list[Tree]:
        with os.scandir(self._root) as entries:
            names = [entry.name for entry in entries if _is_folder(entry) and _counts(entry.name)]
        return [DiskTree(self._root / name) for name in sorted(names)]

    def files(self) -> Iterator[str]:
        return _walk(str(self._root))

    def images(self) -> Iterator[str]:
        return filter(is_image_path, self.files())

    def loose(self) -> int:
        return sum(is_image_name(entry.name) for entry in os.scandir(self._root))


def _walk(folder: str, above: tuple[str, ...] = ()) -> Iterator[str]:
    """Every file below a folder, sorted; links are followed, but not to a folder above."""
    here = os.path.realpath(folder)
    if any(os.path.commonpath((here, other)) == here for other in above):
        return
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.name.startswith("."):
            continue
        if _is_folder(entry):
            yield from _walk(entry.path, (*above, here))
        # A dangling link is listed, so that its absence is reported; a pipe would block.
        elif entry.is_symlink() or entry.is_file():
            yield entry.path


def is_image_path(path: str) -> bool:
    """Tell whether a path's last part is an image's name."""
    return is_image_name(path.rpartition("/")[2])


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


class BucketTree:
    """A folder of a bucket, from one listing of all below it.

    Raises:
      UserError: nothing lies below it.
    """

    def __init__(self, root: str, identity: Mapping[str, str] | None = None) -> None:
        self.identity = bucket.below(root) if identity is None else identity
        self._root = root
        if not self.identity:
            raise UserError(f"no such folder: {root}")

    def __str__(self) -> str:
        return self._root

    @property
    def name(self) -> str:
        return self._root.rpartition("/")[2]

    def folders(self) -> list[Tree]:
        below: dict[str, dict[str, str]] = {}
        for file, known in self.identity.items():
            head, inside, _ = self._inner(file).partition("/")
            if inside and _counts(head):
                below.setdefault(head, {})[file] = known
        return [BucketTree(f"{self._root}/{head}", below[head]) for head in sorted(below)]

    def files(self) -> Iterator[str]:
        for file in self.identity:
            parts = self._inner(file).split("/")
            # An object called FOLDER/ stands for an empty folder.
            if parts[-1] and not any(part.startswith(".") for part in parts):
                yield file

    def images(self) -> Iterator[str]:
        return filter(is_image_path, self.files())

    def loose(self) -> int:
        names = map(self._inner, self.identity)
        return sum("/" not in name and is_image_name(name) for name in names)

    def _inner(self, file: str) -> str:
        return file.removeprefix(f"{self._root}/")


def _counts(folder: str) -> bool:
    return not folder.startswith(".") and folder not in JUNK
