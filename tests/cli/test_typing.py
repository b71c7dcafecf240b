"""Command lines as people type them: spellings, what may be meant, and mistakes told early."""

import subprocess
import sys

import drawn_images
import pytest
from places import ROOT, SUPPORT

from jaxft.cli import early, hints, main, words
from jaxft.cli.config_file import load_config
from jaxft.config import load
from jaxft.configs import base
from jaxft.errors import UserError
from jaxft.runtime.version import VERSION

TINY = str(SUPPORT / "tiny_config.py")
TRAIN = ("train", "--config=folder", "--workdir=run")


def told(*arguments):
    """What is said of a command line that is refused."""
    with pytest.raises(UserError) as error:
        main.read(arguments)
    return error.value


def train(*overrides):
    return main.read([*TRAIN, *overrides]).config


# Verbs and the flags before them.


def test_the_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"jaxft {VERSION}\n"


@pytest.mark.parametrize(
    ("typed", "said"),
    [(["help"], "augment_preview"), (["help", "lr-find"], "jaxft lr_find [-h]")],
)
def test_help_is_a_verb(typed, said, capsys):
    with pytest.raises(SystemExit) as stop:
        main.main(typed)
    assert stop.value.code == 0
    assert said in capsys.readouterr().out


def test_a_verb_takes_dashes():
    assert main.read(["lr-find", "--config=folder", "--workdir=x"]).verb == "lr_find"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("trian", "train"), ("lr-fnd", "lr_find"), ("halp", "help"), ("--verison", "--version")],
)
def test_a_misspelt_verb_is_told_with_the_one_that_is_meant(typed, meant):
    assert f"did you mean {meant}?" in told(typed).title


def test_a_verb_like_no_other_is_told_with_all_of_them():
    error = told("fly")
    assert "did you mean" not in error.title
    assert all(verb in error.hint for verb in main.VERBS)


# Flags.


@pytest.mark.parametrize("typed", ["--tta-method=fastai2", "--tta_method=fastai2"])
def test_a_flag_takes_dashes_and_underscores(typed):
    assert main.read(["evaluate", "--workdir=x", typed]).tta_method == "fastai2"


def test_each_flag_of_each_verb_takes_dashes_and_underscores():
    for parser in main.parsers().values():
        known = words.flags_of(parser)
        for flag in known:
            if flag.startswith("--"):
                other = "--" + flag[2:].replace("-", "_")
                plain = words.sorted_out([other, other.replace("_", "-")], known).plain
                assert set(plain) <= set(known)


def test_what_follows_two_dashes_is_no_flag():
    options = main.read(["predict", "--workdir=x", "--", "--lr=0.1.jpg", "--config.seed=1"])
    assert options.paths == ["--lr=0.1.jpg", "--config.seed=1"]


def test_unknown_flags_are_told_with_the_keys_that_are_meant():
    error = told(
        *TRAIN,
        *("--lr=0.01", "--epochs=5", "--source=folder:x", "--batch-size", "3", "--model=resnet18"),
        *("--optimiser=adamw", "--workdri=y", "--imagesize=64", "--zzz"),
    )
    lr, epochs, source, batch, three, model, optimizer, workdir, size, nothing = error.offenders
    assert lr.startswith("--lr=0.01: did you mean ") and "--config.phases.full.lr?" in lr
    assert "--config.phases.head_cached.epochs" in epochs
    assert "--config.phases.head_augmented.cycles" in epochs
    assert "--config.phases.full.max_cycles" in epochs
    assert source.endswith("did you mean --config.data.source?")
    assert batch == "--batch-size: did you mean --config.data.batch_size?"
    assert three == "3"
    assert model.endswith("did you mean --config.model.name?")
    assert optimizer.endswith("did you mean --config.optimizer.name?")
    assert workdir == "--workdri=y: did you mean --workdir?"
    assert size.endswith("did you mean --config.data.image_size?")
    assert nothing == "--zzz"


def test_a_key_of_that_very_name_comes_before_a_flag_of_a_similar_one():
    (line,) = told("study", "--config=folder", "--workdir=x", "--seed=1").offenders
    assert line == "--seed=1: did you mean --config.seed?"


def test_a_verb_without_a_config_is_not_told_of_keys():
    (line,) = told("report", "--workdir=x", "--lr=0.1").offenders
    assert line == "--lr=0.1"


def test_the_phases_that_are_meant_are_the_cards(tmp_path):
    card = tmp_path / "one.py"
    card.write_text(
        "from jaxft.configs import base\n"
        "def get_config():\n    c = base.get_config()\n"
        "    c.phases = (base.phase(name='only', schedule='one_cycle'),)\n    return c\n"
    )
    lines = told("train", f"--config={card}", "--workdir=x", "--lr=1", "--epochs=2").offenders
    assert lines == (
        "--lr=1: did you mean --config.phases.only.lr?",
        "--epochs=2: did you mean --config.phases.only.epochs?",
    )


def test_a_misspelt_card_does_not_hide_a_misspelt_flag():
    assert "phases.full.lr" in told("train", "--config=foldr", "--lr=1").offenders[0]
    assert "Did you mean folder?" in told("train", "--config=foldr", "--workdir=x").hint


def test_every_name_that_is_meant_is_a_key():
    config = load_config("folder")
    for keys in hints.keys_by_name(config).values():
        for key in keys:
            word = f"--config.{key}=0"
            assert "no such" not in str(hints_of(config, word))


def hints_of(config, word):
    from jaxft.cli.overrides import override

    return override(config, word)


# Keys of the config.


def test_a_key_and_its_value_may_be_two_words():
    typed = ["--config.data.source", "folder:x", "--config.seed", "7", "--config.data.memory_gb"]
    config = train(*typed, "-1", "--config.phases.full.lr", "0.5")
    assert (config.data.source, config.seed, config.data.memory_gb) == ("folder:x", 7, -1.0)
    assert config.phases[2].lr == 0.5


def test_a_switch_takes_no_image_for_its_value():
    options = main.read(
        ["embed", "--config=folder", "--output=x.npy", "--config.data.skip_bad", "a.jpg", "b.jpg"]
    )
    assert options.paths == ["a.jpg", "b.jpg"] and options.config.data.skip_bad is True
    assert train("--config.data.skip_bad", "false").data.skip_bad is False
    assert train("--config.data.skip_bad", "true").data.skip_bad is True


def test_a_key_without_a_value_is_refused():
    (line,) = told(*TRAIN, "--config.data.source", "--config.seed=1").offenders
    assert line == "config.data.source: has no value; write --config.data.source=VALUE"


@pytest.mark.parametrize("phase", ["phases.full", "phases[2]", "phases.2"])
def test_a_phase_is_called_by_its_name_or_number(phase):
    config = train(f"--config.{phase}.lr=0.25", f"--config.{phase}.groups.late=0.75")
    assert (config.phases[2].lr, config.phases[2].groups.late) == (0.25, 0.75)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("phases.ful.lr=1", "no phase ful; did you mean full? The phases are: head_cached, "),
        ("phases.body.lr=1", "no phase body; The phases are: head_cached, head_augmented, full"),
        ("phases[3].lr=1", "no such phase; there are 3: head_cached, head_augmented, full"),
        ("phases[-1].lr=1", "no such phase; there are 3"),
        ("phases.3.lr=1", "no phase 3; The phases are: head_cached"),
        ("phases.lr=1", "did you mean phases.head_cached.lr or phases.head_augmented.lr or "),
        ("phases.full.lrr=1", "no such key; did you mean lr?"),
        ("phases=()", "a list of phases; set a key of one, such as phases.full.lr, or drop and "),
        ("phases.full=2", "a section; set one of its keys: phases.full.bn, "),
        ("data=5", "a section; set one of its keys: data.balance, data.batch_size, "),
    ],
)
def test_a_wrong_key_is_told_with_what_there_is(typed, said):
    error = told(*TRAIN, f"--config.{typed}")
    key = typed.partition("=")[0]
    assert error.offenders[0].startswith(f"config.{key}: ") and said in error.offenders[0]
    assert "jaxft keys" in error.hint


def test_a_card_whose_phases_are_wrong_is_left_to_others(tmp_path):
    (tmp_path / "odd.py").write_text(
        "from jaxft.configs import base\n"
        "def get_config():\n    c = base.get_config()\n    c.phases = ()\n    return c\n"
    )
    error = told(
        "train", f"--config={tmp_path / 'odd.py'}", "--workdir=x", "--config.phases.a.lr=1"
    )
    assert "no phase a" in error.offenders[0]


# Early mistakes.

EARLY = [
    (["train", "--config=folder", "--config.data.source=folder:none", "--workdir=w"], "none"),
    (["sweep", "--config=folder", "--config.data.source=csv:none.csv", "--workdir=w"], "no such"),
    (["train", "--config=folder", "--config.data.source=pics", "--workdir=w"], "folder:pics?"),
    (["train", "--config=foldr", "--workdir=w"], "Did you mean folder?"),
    (["train", "--config=folder", "--config.data.soruce=x", "--workdir=w"], "mean source?"),
    (["train", "--config=folder", "--config.data.source=folder:pics", "--workdir=pics"], "apart"),
    (["probe", "--config=folder", "--config.data.source=folder:pics", "--workdir="], "is empty"),
    (["augment_preview", "--config=folder", "--config.data.source=idx:none"], "no such folder"),
    (["evaluate", "--workdir=none"], "none holds no run"),
    (["report", "--workdir=none"], "none holds no run"),
    (["evaluate", "--workdir=run", "--output=run"], "is there already"),
    (["predict", "--workdir=run", "--output=there.csv", "a.jpg"], "already exists"),
    (["embed", "--workdir=run", "--output=there.npy", "a.jpg"], "already exist"),
    (["keys", "phasse"], "Did you mean phases?"),
    (["trian"], "did you mean train?"),
    (["train", "--config=folder", "--workdir=w", "--lr=1"], "phases.full.lr"),
]


def test_mistakes_are_told_before_jax_is_imported(tmp_path):
    """JAX takes longer to import than all else together, a second and more on a busy machine."""
    drawn_images.draw_folder(tmp_path / "pics", 1)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    for name in ("there.csv", "there.npy"):
        (tmp_path / name).touch()
    script = (
        "import sys\nfrom jaxft.cli import main\n"
        f"for arguments, _ in {EARLY!r}:\n"
        "    print('code', main.main(arguments), 'jax' in sys.modules, file=sys.stderr)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    said = found.stderr.split("code ")
    for (arguments, words_of), text, end in zip(EARLY, said, said[1:], strict=False):
        assert words_of in text, arguments
        assert end.startswith("2 False"), arguments
    assert len(said) == len(EARLY) + 1


@pytest.mark.parametrize(
    ("variable", "mode", "among"),
    [
        ("", "auto", False),
        ("", "on", True),
        ("SLURM_JOB_ID", "auto", True),
        ("SLURM_JOB_ID", "off", False),
        ("JAX_COORDINATOR_ADDRESS", "auto", True),
    ],
)
def test_one_of_several_processes_joins_the_others_first(variable, mode, among, monkeypatch):
    for name in early.CLUSTERS:
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, "1")
    line = [*TRAIN, f"--distributed={mode}", "--config.data.source=folder:none"]
    options = main.read(line)
    if among:
        early.check(options)
    else:
        with pytest.raises(UserError, match="no such folder: none"):
            early.check(options)


def test_the_defaults_have_the_phases_that_help_and_messages_name():
    assert "full" in [phase.name for phase in base.get_config().phases]


def test_a_file_of_a_card_s_name_is_not_taken_for_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").write_text("no config")
    (tmp_path / "notes").write_text("no config")
    assert load_config("folder").data.source == load_config("configs/folder.py").data.source
    with pytest.raises(UserError, match=r"notes is not a config: its name should end in \.py"):
        load_config("notes")


@pytest.mark.parametrize("value", ["9" * 400, "-" * 5000 + "1", "(" * 5000])
@pytest.mark.parametrize("key", ["phases[0].lr", "data.valid_fraction", "seed"])
def test_a_value_that_python_cannot_take_is_told(key, value):
    with pytest.raises(UserError, match=key.rpartition(".")[2]):
        load.read(load_config("folder", [f"--config.{key}={value}"]))
