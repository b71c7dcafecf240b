"""Class folders, and the images in them."""

from collections import Counter
from typing import NamedTuple

from jaxft.data.sources.classes import composed
from jaxft.data.sources.left_out import counted, suffix_of
from jaxft.data.sources.tree import Tree, is_image_path


def inner_classes(folder: Tree) -> list[str]:
    """Names of the folders in a folder that hold images."""
    return [inner.name for inner in folder.folders() if holds_images(inner)]


def holds_images(folder: Tree) -> bool:
    """Tell whether an image lies anywhere below a folder."""
    return next(folder.images(), None) is not None


class ClassFolders(NamedTuple):
    """(file, class) of every image, the problems, and the other files, counted by suffix."""

    pairs: list[tuple[str, str]]
    problems: list[str]
    others: Counter[str]


def class_folders(root: Tree) -> ClassFolders:
    """List the files below root/CLASS."""
    pairs: list[tuple[str, str]] = []
    problems = []
    others = Counter[str]()
    folders = root.folders()
    for folder in folders:
        images: list[str] = []
        rest: list[str] = []
        for file in folder.files():
            (images if is_image_path(file) else rest).append(file)
        pairs.extend((file, composed(folder.name)) for file in images)
        others.update(map(suffix_of, rest))
        if not images:
            beside = f"; it holds {counted(len(rest), 'other file')}" if rest else ""
            problems.append(f"no image in class folder {folder}{beside}")
    if not folders:
        problems.append(f"no class folder in {root}{_loose_images(root)}")
    # By composed name, because file systems hand over decomposed ones in another order.
    pairs.sort(key=lambda pair: (pair[1], composed(pair[0]), pair[0]))
    return ClassFolders(pairs, problems, others)


def _loose_images(root: Tree) -> str:
    count = root.loose()
    return f", but {count} images outside of any class folder" if count else ""
