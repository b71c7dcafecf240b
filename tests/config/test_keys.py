"""Keys, their types and explanations, as configs/base.py has them."""

import pytest

from jaxft.config import load
from jaxft.config.keys import explained, keys, values_of
from jaxft.config.plain import as_dict
from jaxft.configs import base, folder

SOURCE = """
config.seed = 0  # beside
# above
# in two lines
config.data.source = "digits"  # beside, too

# apart from what follows

config.data.fold = 0
x = {
    # of a phase
    "views": 1,
    "name": "n",  # its name
}
"""


def test_comments_beside_and_above_explain_a_key():
    assert explained(SOURCE) == {
        "seed": "beside",
        "data.source": "beside, too; above in two lines",
        "data.fold": "",
        "phases.NAME.views": "of a phase",
        "phases.NAME.name": "its name",
    }


def leaves(plain, path=""):
    for key, value in plain.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}"


def test_every_key_is_listed_once_in_the_order_of_the_file():
    plain = as_dict(base.get_config())
    (phase, *_) = plain.pop("phases")
    names = [*leaves(plain), *leaves(phase, "phases.NAME.")]
    found = [key.path for key in keys()]
    assert sorted(found) == sorted(names)
    assert found[:3] == ["seed", "init_from", "cache_dir"]
    assert found.index("data.source") < found.index("augment.preset") < found.index("plan.classes")


def test_every_key_is_explained():
    assert [key.path for key in keys() if len(key.told) < 6] == []


@pytest.mark.parametrize(
    ("path", "kind", "default", "word"),
    [
        ("data.batch_size", "whole number", 64, "devices"),
        ("augment.flip", "true or false", None, "left-right"),
        ("phases.NAME.lr", "number or word", "find", "previous"),
        ("phases.NAME.groups.late", "number", 0.0, "0 = frozen"),
        ("model.hidden", "tuple", (512,), "widths"),
        ("best_by", "word", "accuracy", "val_loss"),
    ],
)
def test_a_key_has_a_type_a_default_and_an_explanation(path, kind, default, word):
    (key,) = [key for key in keys() if key.path == path]
    assert (key.kind, key.default) == (kind, default)
    assert word in key.told


def test_the_values_of_a_card_are_those_that_a_run_reads():
    values = values_of(folder.get_config())
    settings = load.read(folder.get_config())
    assert values["data.batch_size"] == settings.data.batch_size == 32
    assert values["phases.full.max_cycles"] == settings.phases[2].max_cycles == 3
    assert values["phases.full.groups.late"] == settings.phases[2].groups["late"] == 0.5
    assert list(values)[:2] == ["seed", "init_from"]
