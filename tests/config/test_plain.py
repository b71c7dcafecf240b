"""A run's config, taken from its JSON, is the one it was begun with."""

import json

import pytest

from jaxft.cli.config_file import load_config
from jaxft.config import load
from jaxft.config.plain import as_config, as_dict
from jaxft.config.resolve import resolved


@pytest.mark.parametrize("card", ["quickstart", "folder", "fashion_mnist"])
def test_a_config_comes_back_from_json(card):
    config = load_config(card)
    for plain in (as_dict(config), resolved(config)):
        again = as_config(json.loads(json.dumps(plain)))
        assert as_dict(again) == plain
        assert load.read(again) == load.from_dict(plain)


def test_keys_take_what_a_cards_keys_take():
    config = as_config(resolved(load_config("quickstart")))
    config.phases[2].lr = 0.01
    config.phases[2].groups.early = 0
    config.finder.lo = 1e-5
    assert load.read(config).phases[2].lr == 0.01
    with pytest.raises(TypeError):
        config.data.image_size = "large"
