"""Files of a workdir that decide numbers: changed ones are told, and a run goes on with its own."""

import io
import json

import numpy as np
import pytest
import tiny
from places import SUPPORT

from jaxft.cli.config_file import load_config
from jaxft.config.plain import as_dict
from jaxft.errors import UserError
from jaxft.evaluation.restore import read_workdir
from jaxft.materials import identity, seed
from jaxft.runtime.console import Console
from jaxft.workdir import going_on, same_config, seal
from jaxft.workdir.checkpoint import Checkpoint
from jaxft.workdir.rows import write_json
from jaxft.workdir.saving import Checkpoints

PREPROCESSING = {"mean": [127.5] * 3, "std": [127.5] * 3, "image_size": 32}
WEIGHTS = {"source": "file:w.pth", "file": "w.pth", "sha256": "5" * 64, "seed": 17}


def plain(*overrides):
    words = [f"--config.{one}" for one in overrides]
    return as_dict(load_config(f"{SUPPORT / 'tiny_config.py'}:nowhere", words))


@pytest.fixture
def workdir(tmp_path, tiny):
    """A run's files, and a checkpoint that holds them."""
    sealed = {
        "config.json": plain(),
        "classes.json": ["blue", "green", "red"],
        "preprocessing.json": PREPROCESSING,
        "weights.json": WEIGHTS,
    }
    for name, data in sealed.items():
        write_json(tmp_path / name, data)
    checkpoints = Checkpoints(tmp_path, sealed=sealed)
    arrays = {"params": {"early": {"kernel": np.ones(3, np.float32)}}}
    checkpoints.save(1, Checkpoint(arrays, arrays, {"version": 4}))
    checkpoints.close()
    return tmp_path


def edit(workdir, name, old, new):
    text = (workdir / name).read_text()
    assert old in text
    (workdir / name).write_text(text.replace(old, new, 1))


def test_files_as_they_were_are_whole(workdir):
    seal.demand(workdir)
    assert read_workdir(workdir)[1] == ("blue", "green", "red")


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("preprocessing.json", "127.5", "12.5", "mean[0]: 127.5 then, 12.5 now"),
        ("preprocessing.json", "32", "48", "image_size: 32 then, 48 now"),
        ("classes.json", "blue", "blve", "[0]: 'blue' then, 'blve' now"),
        ("classes.json", '"blue",', "", "[2]: 'red' then, 'absent' now"),
        ("config.json", '"image_size": 32', '"image_size": 48', "32 then, 48 now"),
        ("config.json", '"tiny"', '"tinv"', "model.name: 'tiny' then, 'tinv' now"),
        ("config.json", "{", "[", "config.json cannot be read"),
        ("weights.json", '"seed": 17', '"seed": 16', "weights.json seed: 17 then, 16 now"),
    ],
)
def test_a_changed_file_is_named_with_what_it_held(workdir, name, old, new, told):
    edit(workdir, name, old, new)
    with pytest.raises(UserError, match="were changed since the run began") as error:
        read_workdir(workdir)
    assert any(line.startswith(name) and told in line for line in error.value.offenders)


@pytest.mark.parametrize("content", [b"\xff", b"", b"[" * 100_000, b"7", b'{"blue": 1}'])
def test_what_is_no_list_of_classes_is_told(workdir, content):
    (workdir / "classes.json").write_bytes(content)
    with pytest.raises(UserError, match="classes"):
        read_workdir(workdir)


def test_a_missing_file_is_told(workdir):
    (workdir / "weights.json").unlink()
    with pytest.raises(UserError, match="is missing"):
        seal.demand(workdir)


def test_keys_with_which_a_run_goes_on_may_change(workdir):
    words = ("cache_dir=elsewhere", "data.threads=5", "phases[2].max_cycles=9", "phases[0].lr=0.1")
    write_json(workdir / "config.json", plain(*words))
    seal.demand(workdir)
    assert same_config.saved(workdir)["cache_dir"] == "elsewhere"


def test_a_config_that_lacks_a_later_key_is_whole(workdir):
    config = json.loads((workdir / "config.json").read_text())
    del config["average_cycles"], config["augment"]["policy_ops"]
    write_json(workdir / "config.json", config)
    seal.demand(workdir)


@pytest.mark.parametrize("damage", ["lost", "changed", "cut"])
def test_a_run_goes_on_without_its_config_file(workdir, damage):
    file = workdir / "config.json"
    if damage == "lost":
        file.unlink()
    elif damage == "changed":
        edit(workdir, "config.json", '"batch_size": 8', '"batch_size": 9')
    else:
        file.write_text(file.read_text()[:200])
    assert going_on.check(workdir, plain()) == []
    with pytest.raises(UserError, match=r"data.batch_size: 8 there, 16 now"):
        going_on.check(workdir, plain("data.batch_size=16"))


def test_other_preprocessing_is_refused(workdir):
    identity.check_preprocessing(workdir, {**PREPROCESSING, "fit": "crop"})
    with pytest.raises(UserError, match=r"mean\[0\]: 127.5 then, 25.5 now"):
        identity.check_preprocessing(workdir, {**PREPROCESSING, "mean": (25.5, 127.5, 127.5)})


def test_a_run_goes_on_with_its_own_weights_and_says_so(workdir):
    stream = io.StringIO()
    now = {**WEIGHTS, "sha256": "6" * 64}
    materials = tiny.materials(workdir)._replace(origin=now, console=Console(stream))
    assert identity.weights_begun_with(workdir, materials) == WEIGHTS
    assert "initial weights have changed" in stream.getvalue()
    with pytest.raises(UserError, match="It has to begin again"):
        identity.demand_first_weights(workdir, materials)
    identity.demand_first_weights(workdir, materials._replace(origin=WEIGHTS))


def test_the_seed_of_a_run_is_that_of_its_checkpoints(workdir):
    materials = tiny.materials(workdir)
    settings = materials.settings.__class__(**{**vars(materials.settings), "init_from": "other"})
    edit(workdir, "weights.json", "17", "18")
    found = seed.mixed(materials._replace(settings=settings, origin={"digest": "7"}), workdir)
    assert found.settings.seed == 17
