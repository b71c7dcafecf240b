"""Features of files: those that the cache holds, in files that other programs read."""

import csv
import importlib.util
import os
from dataclasses import replace

import numpy as np
import pyarrow.parquet
import pytest
import tiny_config

from jaxft import run
from jaxft.cli import main
from jaxft.data.sources.registry import open_dataset
from jaxft.errors import UserError
from jaxft.evaluation import embed, feature_files


def card(drawn):
    return f"--config=tests/support/tiny_config.py:{drawn}"


def names_in(file):
    with open(file, newline="", errors="surrogateescape") as content:
        return [row["file"] for row in csv.DictReader(content)]


@pytest.fixture(scope="module")
def files(drawn):
    """Images of the validation split of tiny_config, in its order."""
    found = open_dataset(f"folder:{drawn}", valid_fraction=0.3, split_seed=42, folds=0, fold=0)
    return list(found.valid.names)


@pytest.mark.slow
def test_features_are_those_in_the_cache(drawn, files, tiny, tmp_path):
    config = tiny_config.get_config(drawn)
    config.cache_dir, config.phases = str(tmp_path / "cache"), config.phases[:1]
    config.phases[0].lr = 0.1
    run.train(config, tmp_path / "run")
    of_valid = [
        rows
        for part in (tmp_path / "cache" / "features").glob("*.npy")
        if len(rows := np.load(part)) == len(files)
    ]
    (cached,) = of_valid
    found = embed.embed(embed.of_run(tmp_path / "run"), files)
    assert found.files == tuple(files) and found.features.dtype == np.float32
    np.testing.assert_array_equal(found.features, cached)


def test_other_weights_give_other_features_and_a_batch_size_does_not(finished, files, tiny):
    best = embed.embed(embed.of_run(finished), files)
    begun = embed.embed(embed.of_config(tiny_config.get_config("gone")), files)
    assert np.abs(best.features - begun.features).max() > 1e-3
    assert best.features.shape == begun.features.shape == (13, 32)
    one = embed.embed(embed.of_run(finished), files, batch_size=1)
    np.testing.assert_allclose(one.features, best.features, rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match="best, last"):
        embed.of_run(finished, "first")


def test_the_verb_writes_rows_and_names_in_one_order(finished, files, tiny, tmp_path, capsys):
    chosen = [files[5], files[0], files[9]]
    output = tmp_path / "some.npy"
    assert main.main(["embed", f"--workdir={finished}", f"--output={output}", *chosen]) == 0
    told = capsys.readouterr().out
    assert told == f"3 images, 32 features each -> {output} and {tmp_path / 'some.csv'}\n"
    assert names_in(tmp_path / "some.csv") == chosen
    rows = np.load(output)
    assert rows.dtype == np.float32
    alone = embed.embed(embed.of_run(finished), chosen[1:2]).features[0]
    np.testing.assert_allclose(rows[1], alone, rtol=1e-5, atol=1e-6)


def test_parquet_holds_the_same(drawn, tiny, tmp_path, capsys):
    words = ["embed", card("gone"), str(drawn / "red")]
    assert main.main([*words, f"--output={tmp_path / 'red.parquet'}"]) == 0
    assert main.main([*words, f"--output={tmp_path / 'red.npy'}"]) == 0
    table = pyarrow.parquet.read_table(tmp_path / "red.parquet")
    assert table.column("file").to_pylist() == names_in(tmp_path / "red.csv")
    kind = table.schema.field("features").type
    assert (kind.list_size, kind.value_type) == (32, pyarrow.float32())
    rows = np.array(table.column("features").to_pylist(), np.float32)
    np.testing.assert_array_equal(rows, np.load(tmp_path / "red.npy"))


def test_names_that_are_no_utf8_survive(tmp_path):
    name, row = os.fsdecode(b"caf\xe9.png"), np.ones((1, 2), np.float32)
    feature_files.write(tmp_path / "x.npy", [name], row)
    assert names_in(tmp_path / "x.csv") == [name]
    feature_files.write(tmp_path / "x.parquet", [name], row)
    table = pyarrow.parquet.read_table(tmp_path / "x.parquet")
    assert table.column("file").to_pylist() == ["caf\\xe9.png"]


def test_what_is_there_already_is_kept(tmp_path):
    for name in ("a.csv", "b.parquet"):
        (tmp_path / name).write_text("mine")
    for name, other in (("a.npy", "a.csv"), ("b.parquet", "b.parquet")):
        with pytest.raises(UserError, match="already exist") as error:
            feature_files.demand_new(tmp_path / name)
        assert error.value.offenders == (f"{tmp_path / other} already exists",)
        with pytest.raises(FileExistsError):
            feature_files.write(tmp_path / name, ["x"], np.ones((1, 2), np.float32))
        assert (tmp_path / other).read_text() == "mine"


def test_a_package_that_is_missing_is_named_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="jaxft\\[parquet\\]"):
        feature_files.demand_new(tmp_path / "x.parquet")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--output=x.txt", "--config=quickstart", "x.png"], "should end in .npy or .parquet"),
        (["--output=nowhere/x.npy", "--config=quickstart", "x.png"], "no such folder: nowhere"),
        (["--output=x.npy", "--workdir=gone", "x.png"], "gone holds no run"),
        (["--output=x.npy", "--workdir=", "x.png"], "--workdir is empty"),
        (["--output=x.npy", "--workdir=gone", "--config.seed=1", "x.png"], "no config beside"),
        (["--output=x.npy", "--weights=last", "--config=quickstart", "x"], "among a run's"),
        (["--output=x.npy", "--config=", "x.png"], "No config"),
    ],
)
def test_mistakes_are_told_before_any_work(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main.main(["embed", *words]) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_images_that_are_missing_or_damaged_are_all_listed(finished, tiny, tmp_path, capsys):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("no image")
    given = [str(tmp_path / name) for name in ("a.png", "b.png")]
    output = tmp_path / "x.npy"
    words = ["embed", f"--workdir={finished}", f"--output={output}", *given]
    assert main.main([*words, str(tmp_path / "c.png"), str(tmp_path / "d.png")]) == 2
    told = capsys.readouterr().err
    assert "c.png: not found" in told and "d.png: not found" in told
    assert main.main(words) == 2
    told = capsys.readouterr().err
    assert "a.png" in told and "b.png" in told
    assert not output.exists() and not output.with_suffix(".csv").exists()


def test_a_run_that_skips_bad_images_keeps_names_and_rows_together(finished, files, tiny, tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    source = embed.of_run(finished)
    data = replace(source.settings.data, skip_bad=True)
    lenient = source._replace(settings=replace(source.settings, data=data))
    found = embed.embed(lenient, [files[0], str(tmp_path / "bad.png"), files[1]])
    assert found.files == (files[0], files[1])
    plain = embed.embed(source, files[:2])
    np.testing.assert_array_equal(found.features, plain.features)
