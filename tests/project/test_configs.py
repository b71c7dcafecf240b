"""Every config that ships is a recipe card: it loads, it is right, and it says what to expect."""

import ast
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from jaxft.cli.config_file import load_config
from jaxft.config import load
from jaxft.config.plain import as_dict
from jaxft.configs import base

FOLDER = Path(base.__file__).parent
CARDS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("__init__", "base"))


def keys(config, path=""):
    """Every key of a config; of the phases, the keys that any of them has."""
    for key, value in config.items():
        yield f"{path}{key}"
        if isinstance(value, ConfigDict):
            yield from keys(value, f"{path}{key}.")
        elif key == "phases":
            for phase in value:
                yield from keys(phase, "phases[].")


def test_there_are_cards():
    assert {"quickstart", "folder", "furniture_resnext101"} <= set(CARDS)


@pytest.mark.parametrize("card", [*CARDS, "base"])
def test_a_card_is_a_right_config(card):
    settings = load.read(load_config(str(FOLDER / f"{card}.py")))
    assert settings.phases[0].inputs == "cached"
    assert settings.phases[-1].trains_body


@pytest.mark.parametrize("card", CARDS)
def test_a_card_has_exactly_the_keys_of_base(card):
    config = load_config(card)
    assert set(keys(config)) == set(keys(base.get_config()))
    for phase in config.phases:
        assert set(keys(phase)) == set(keys(base.phase()))


@pytest.mark.parametrize("card", CARDS)
def test_a_card_says_data_expectation_and_command(card):
    text = ast.get_docstring(ast.parse((FOLDER / f"{card}.py").read_text()))
    assert text
    for word in ("Data:", "Expected:", "Command", "jaxft train --config="):
        assert word in text
    assert card in text.split("--config=")[1]


def test_every_key_of_base_has_a_comment():
    lines = (FOLDER / "base.py").read_text().splitlines()
    stated = [line for line in lines if line.startswith("    config.") and "=" in line]
    # A few names say it all.
    plain = ("rotate_probability", "zoom_probability", "finder.steps", "finder.lo", "finder.hi")
    silent = [line for line in stated if "#" not in line and not any(p in line for p in plain)]
    allowed = ("config.data = ", "config.model = ", "config.optimizer = ", "config.phases = ")
    assert [line for line in silent if not line.strip().startswith(allowed)] == []


@pytest.mark.parametrize("card", CARDS)
def test_changing_one_config_changes_no_other(card):
    first, second = load_config(card), load_config(card)
    first.phases[0].lr = 0.5
    first.data.image_size = 100
    assert as_dict(second) == as_dict(load_config(card))


def test_a_phase_freezes_what_its_groups_leave_out():
    groups = base.phase(groups={"late": 0.1}).groups
    assert groups.to_dict() == {"early": 0.0, "late": 0.1, "head": 0.0}
