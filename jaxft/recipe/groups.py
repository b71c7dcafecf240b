"""Split and join trees by layer group, the top-level keys of parameters and batch statistics."""

from collections.abc import Collection, Mapping
from typing import Any

Tree = dict[str, Any]


def split(tree: Mapping[str, Any], names: Collection[str]) -> tuple[Tree, Tree]:
    """Divide a tree into the named groups and the others, so that only the former are touched.

    Args:
      tree: group name -> subtree.
      names: the groups to take out; each must be in the tree.

    Returns:
      (the named groups, all other groups), both in the tree's order.

    Raises:
      KeyError: a name is not a group of the tree.
    """
    unknown = sorted(set(names) - set(tree))
    if unknown:
        raise KeyError(f"no layer groups {unknown}; there are {list(tree)}")
    taken = {name: subtree for name, subtree in tree.items() if name in names}
    rest = {name: subtree for name, subtree in tree.items() if name not in names}
    return taken, rest


def join(*trees: Mapping[str, Any]) -> Tree:
    """Join groups again, in the order early, late, head.

    Raises:
      ValueError: a group is in more than one tree.
    """
    joined: Tree = {}
    for tree in trees:
        twice = sorted(set(joined) & set(tree))
        if twice:
            raise ValueError(f"layer groups {twice} stand in more than one tree")
        joined.update(tree)
    return {name: joined[name] for name in sorted(joined, key=_depth)}


def deepest(names: Collection[str]) -> str:
    """Return the group of these that is nearest to the network's output."""
    return max(names, key=_depth)


def _depth(name: str) -> tuple[int, str]:
    known = ("early", "late", "head")
    return (known.index(name) if name in known else len(known), name)
