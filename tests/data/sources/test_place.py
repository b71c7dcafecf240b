"""The place of a source: there or not, and apart from a run's workdir."""

import pytest

from jaxft.data.sources.place import demand_apart, demand_kind, demand_there
from jaxft.errors import UserError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder of class folders, a CSV, and a run, in the current directory."""
    for name in ("photos/cat", "photos/dog", "runs/old", "photos/run", "project"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "photos" / "cat" / "1.jpg").touch()
    (tmp_path / "photos" / "run" / "config.json").touch()
    (tmp_path / "project" / "labels.csv").touch()
    monkeypatch.chdir(tmp_path)


def hint(source):
    with pytest.raises(UserError, match="unknown data source") as error:
        demand_kind(source)
    return error.value.hint


@pytest.mark.parametrize(
    ("source", "meant"),
    [
        ("photos", "folder:photos"),
        ("project/labels.csv", "csv:project/labels.csv"),
        ("floder:photos", "folder:photos"),
        ("cvs:labels.csv", "csv:labels.csv"),
        ("folder", "folder:PATH"),
        ("digit", "digits"),
        ("digits:8", "digits"),
    ],
)
def test_a_source_of_no_kind_is_told_with_the_one_that_is_meant(source, meant):
    assert hint(source).startswith(f"did you mean {meant}? known: digits, folder:PATH, ")


def test_a_source_like_no_other_is_told_with_all_kinds():
    assert hint("http:x").startswith("known: ")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("folder:none", "no such folder: none"),
        ("idx:none", "no such folder: none"),
        ("tfds_dir:none", "no such folder: none"),
        ("folder:project/labels.csv", "no folder: project/labels.csv"),
        ("csv:none.csv", "no such file: none.csv"),
        ("folder:~nobody-of-this-name/x", "no such folder: ~nobody-of-this-name/x"),
    ],
)
def test_a_place_that_is_not_there(source, said):
    with pytest.raises(UserError, match=said):
        demand_there(source)


@pytest.mark.parametrize(
    "source", ["digits", "folder:photos", "csv:project/labels.csv", "tfds:pets", "folder:gs://b/x"]
)
def test_a_place_that_is_there_or_not_of_this_machine(source):
    demand_there(source)


@pytest.mark.parametrize(
    ("workdir", "source"),
    [
        ("photos", "folder:photos"),
        ("photos/", "folder:./photos"),
        ("photos/new", "folder:photos"),
        ("runs/../photos/cat", "folder:photos"),
        (".", "folder:photos"),
        ("runs/new", "folder:."),
        ("photos/cat", "csv:project/labels.csv"),
        ("gs://bucket/photos/run", "folder:gs://bucket/photos"),
    ],
)
def test_a_workdir_among_the_images_is_refused(workdir, source, monkeypatch):
    monkeypatch.setattr("jaxft.data.sources.place._begun", lambda _: False)
    with pytest.raises(UserError, match="should lie apart") as error:
        demand_apart(workdir, source)
    assert f"--workdir={workdir} " in error.value.title


@pytest.mark.parametrize(
    ("workdir", "source"),
    [
        ("runs/new", "folder:photos"),
        ("photos2", "folder:photos"),
        ("project", "csv:project/labels.csv"),
        ("photos/new", "csv:project/labels.csv"),
        ("anywhere", "digits"),
        ("photos", "tfds:pets"),
        ("gs://bucket/photos", "folder:photos"),
        ("gs://bucket/runs", "folder:gs://bucket/photos"),
    ],
)
def test_a_workdir_apart_from_the_images(workdir, source):
    demand_apart(workdir, source)


def test_a_run_that_lies_among_the_images_already_stays_usable():
    demand_apart("photos/run", "folder:photos")
    with pytest.raises(UserError, match="should lie apart"):
        demand_apart("photos/cat", "folder:photos")


def test_a_link_to_the_images_is_looked_through(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    with pytest.raises(UserError, match="should lie apart"):
        demand_apart("link/new", "folder:photos")
