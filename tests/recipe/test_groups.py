"""Layer groups come apart and together again."""

import pytest

from jaxft.recipe import groups

TREE = {"early": {"kernel": 1}, "late": {"kernel": 2}, "head": {"kernel": 3, "bias": 4}}


def test_split_takes_the_named_groups_out_and_copies_nothing():
    taken, rest = groups.split(TREE, {"head", "late"})
    assert list(taken) == ["late", "head"] and list(rest) == ["early"]
    assert taken["head"] is TREE["head"]


def test_join_undoes_split_in_the_order_of_depth():
    taken, rest = groups.split(TREE, {"early"})
    assert groups.join(rest, taken) == TREE
    assert list(groups.join(rest, taken)) == ["early", "late", "head"]


def test_every_unknown_group_is_named():
    with pytest.raises(KeyError, match=r"\['body', 'neck'\].*'early', 'late', 'head'"):
        groups.split(TREE, {"neck", "head", "body"})


def test_a_group_that_stands_in_two_trees_is_an_error():
    with pytest.raises(ValueError, match="head"):
        groups.join(TREE, {"head": {}})
