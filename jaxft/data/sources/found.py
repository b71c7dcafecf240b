"""Examples that a source lists."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Found:
    """Examples that the source in `place` lists, before labels are numbered.

    Pairs are (file, class name); `valid` is None where the source makes no split of its own,
    `test` is empty where it has none. `problems` were met on the way; `identity` holds the content
    identities that are known already; `left_out` counts, by suffix, the files that are no images.
    """

    place: str
    train: list[tuple[str, str]]
    valid: list[tuple[str, str]] | None
    test: list[tuple[str, str]]
    problems: list[str]
    identity: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)


def is_labelled(test: list[tuple[str, str]], train: list[tuple[str, str]]) -> bool:
    """Tell whether a test split can be evaluated: unlabelled images lie in no class of train's."""
    return bool({label for _, label in test} & {label for _, label in train})
