"""Names of classes, and problems with the classes of a data set."""

import unicodedata
from collections import Counter
from collections.abc import Iterator


def class_problems(
    train: Counter[str],
    valid: Counter[str] | None,
    test: Counter[str],
    *,
    seen_whole: bool = True,
) -> Iterator[str]:
    """Yield a line for each problem with these numbers of images by class.

    Args:
      train, valid, test: of each split; `valid` None: it is to be made from train.
      seen_whole: all was read; else a missing class may be one that could not be read.
    """
    if len(train) == 1 and seen_whole:
        yield f'only one class: "{next(iter(train))}"; a classifier needs two'
    if not train and seen_whole:
        yield "no images for training"
    if valid is None:
        for name in sorted(name for name, count in train.items() if count == 1):
            yield f'class "{name}" has a single image, and the split needs two'
    elif not valid and seen_whole:
        yield "no images for validation"
    for which, counts in (("valid", valid or Counter[str]()), ("test", test)):
        for name, count in sorted(counts.items()):
            if name not in train:
                yield f'class "{name}" is in {which} ({count} images), but not in train'


def composed(name: str) -> str:
    """A name in Unicode's composed form; some file systems hand over another."""
    return unicodedata.normalize("NFC", name)
