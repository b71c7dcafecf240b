"""The seed of a run that starts from another run's weights."""

import json

import pytest
import tiny

from jaxft.materials import seed
from jaxft.workdir import checkpoint

DIGEST = "5" * 64


def opened(tmp_path, init_from="before", own=3):
    materials = tiny.materials(tmp_path)
    settings = materials.settings.__class__(
        **{**vars(materials.settings), "init_from": init_from, "seed": own}
    )
    origin = {"init_from": init_from, "digest": DIGEST} if init_from else {"source": "none"}
    return materials._replace(settings=settings, origin=origin)


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """A workdir with a checkpoint, and what its weights.json says."""
    monkeypatch.setattr(checkpoint, "steps", lambda _: [1])

    def say(**about):
        (tmp_path / "weights.json").write_text(json.dumps(about))
        return tmp_path

    return say


def test_a_run_from_pretrained_weights_draws_by_its_own_seed(tmp_path):
    materials = opened(tmp_path, init_from="")
    assert seed.mixed(materials, tmp_path) is materials


def test_a_run_from_another_draws_by_both(tmp_path):
    found = seed.mixed(opened(tmp_path), tmp_path)
    assert found.settings.seed == seed.mix(3, DIGEST)
    assert found.origin == {"init_from": "before", "digest": DIGEST, "seed": found.settings.seed}


def test_a_seed_depends_on_the_run_and_on_the_config():
    seeds = {seed.mix(own, digest) for own in (0, 1) for digest in (DIGEST, "6" * 64)}
    assert len(seeds) == 4 and all(0 <= one < 2**31 for one in seeds)
    assert seed.mix(0, DIGEST) == 712339663  # runs that have begun depend on it


def test_a_run_that_has_begun_keeps_its_seed_when_the_other_goes_on(tmp_path, begun):
    workdir = begun(init_from="before", digest="6" * 64, seed=17)
    found = seed.mixed(opened(tmp_path), workdir)
    assert found.settings.seed == 17
    assert found.origin == {"init_from": "before", "digest": DIGEST, "seed": 17}


def test_what_lr_find_left_is_no_begin(tmp_path):
    (tmp_path / "weights.json").write_text(json.dumps({"init_from": "before", "seed": 17}))
    assert seed.mixed(opened(tmp_path), tmp_path).settings.seed == seed.mix(3, DIGEST)


def test_a_run_that_began_before_seeds_were_mixed_keeps_its_config_s(tmp_path, begun):
    found = seed.mixed(opened(tmp_path), begun(init_from="before"))
    assert found.settings.seed == 3
    assert found.origin == {"init_from": "before", "digest": DIGEST, "seed": 3}
