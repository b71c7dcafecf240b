"""A folder of class folders, or of splits that hold them."""

from collections import Counter
from typing import NamedTuple

from jaxft.data.images import heif
from jaxft.data.sources.classes import composed
from jaxft.data.sources.found import Found, is_labelled
from jaxft.data.sources.left_out import counted, suffix_of
from jaxft.data.sources.sides import TEST_NAMES, TRAIN_NAMES, VALID_NAMES
from jaxft.data.sources.tree import Tree, is_image_path, open_tree
from jaxft.errors import unusable_data


def list_folder(argument: str) -> Found:
    """List PATH/{train,valid,test}/CLASS/file or PATH/CLASS/file.

    Raises:
      UserError: no such folder; or listing the folders that are no classes.
    """
    root = open_tree(argument)
    sides = _sides(root)
    if sides is None:
        pairs, problems, others = _class_folders(root)
        return Found(str(root), pairs, None, [], problems, root.identity, others)
    train = _class_folders(sides.train)
    valid = _class_folders(sides.valid) if sides.valid else None
    test = _class_folders(sides.test) if sides.test else None
    if test and not is_labelled(test.pairs, train.pairs):
        test = None
    listed = [folders for folders in (train, valid, test) if folders]
    return Found(
        str(root),
        train.pairs,
        valid.pairs if valid else None,
        test.pairs if test else [],
        [problem for folders in listed for problem in folders.problems],
        root.identity,
        sum((folders.others for folders in listed), Counter()),
    )


class Sides(NamedTuple):
    """The folders of the splits."""

    train: Tree
    valid: Tree | None
    test: Tree | None


def _sides(root: Tree) -> Sides | None:
    """The folders of PATH/{train,valid,test}; None where PATH holds the classes themselves.

    A class may itself be called "train": without a validation folder beside it, such a folder
    counts as a split only if it holds folders.

    Raises:
      UserError: listing the folders that would be mistaken for classes or splits, or passed over.
    """
    folders = root.folders()
    train, valid, test = (
        [folder for folder in folders if folder.name.lower() in names]
        for names in (TRAIN_NAMES, VALID_NAMES, TEST_NAMES)
    )
    if not train or not (valid or any(folder.folders() for folder in train)):
        if problems := _splits_as_classes(folders, [*valid, *test]):
            raise unusable_data(root, problems)
        return None
    twice = [folder for side in (train, valid, test) if len(side) > 1 for folder in side]
    problems = [f"which one is meant? {folder}" for folder in twice]
    if not valid:  # it may be there by another name, or the classes may lie beside the split
        known = {str(folder) for folder in (*train, *test)}
        problems += [
            f"{folder} is beside {train[0].name}, but is not a split (known: train, valid, "
            f"test): move it away, or into {train[0].name}"
            for folder in folders
            if str(folder) not in known and _holds_images(folder)
        ]
    if problems:
        raise unusable_data(root, problems)
    return Sides(train[0], valid[0] if valid else None, test[0] if test else None)


def _splits_as_classes(folders: list[Tree], named: list[Tree]) -> list[str]:
    """Problems with class folders that are splits; `named` are those with a split's name."""
    splits = [folder for folder in named if _inner_classes(folder)]
    if splits:
        return [
            f"{folder} holds class folders, as a split does: give train/CLASS/... as well"
            for folder in splits
        ]
    # Classes may hold the same folders, too, such as left and right: the name has to tell.
    if len(folders) < 2 or not any("train" in folder.name.lower() for folder in folders):
        return []
    inner = _inner_classes(folders[0])
    if len(inner) < 2 or any(
        folder.loose() or _inner_classes(folder) != inner for folder in folders
    ):
        return []
    names = ", ".join(folder.name for folder in folders)
    return [
        f"each of {names} holds the folders {', '.join(inner)} and no image: which are the "
        "classes? Use CLASS/file, or train/CLASS/file with valid/ and test/ beside train/"
    ]


def _inner_classes(folder: Tree) -> list[str]:
    """Names of the folders in a folder that hold images."""
    return [inner.name for inner in folder.folders() if _holds_images(inner)]


def _holds_images(folder: Tree) -> bool:
    """Tell whether an image lies anywhere below a folder."""
    return next(folder.images(), None) is not None


class ClassFolders(NamedTuple):
    """(file, class) of every image, the problems, and the other files, counted by suffix."""

    pairs: list[tuple[str, str]]
    problems: list[str]
    others: Counter[str]


def _class_folders(root: Tree) -> ClassFolders:
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
            lacking = heif.in_words(Counter(map(suffix_of, rest)))
            beside += f", {lacking}" if lacking else ""
            problems.append(f"no image in class folder {folder}{beside}")
    if not folders:
        problems.append(f"no class folder in {root}{_loose_images(root)}")
    # By composed name, because file systems hand over decomposed ones in another order.
    pairs.sort(key=lambda pair: (pair[1], composed(pair[0]), pair[0]))
    return ClassFolders(pairs, problems, others)


def _loose_images(root: Tree) -> str:
    count = root.loose()
    return f", but {count} images outside of any class folder" if count else ""
