"""A run's own data are found from any folder."""

import io
import json

import pytest
import tiny_config

from jaxft.data.sources import place
from jaxft.errors import UserError
from jaxft.evaluation.own_data import open_own
from jaxft.materials.data import open_data
from jaxft.materials.identity import describe_data
from jaxft.materials.start_up import start_up
from jaxft.runtime.console import Console

NOWHERE = Console(None)


@pytest.fixture
def begun(drawn, tiny, tmp_path, monkeypatch):
    """Settings with a relative source, and what describes the run that began in its folder."""
    monkeypatch.chdir(drawn.parent)
    settings = start_up(tiny_config.get_config(drawn.name))[0]
    source = place.absolute(settings.data.source)
    dataset = open_data(settings)
    (tmp_path / "data.json").write_text(json.dumps({**describe_data(dataset), "source": source}))
    return settings, dataset


def test_data_are_found_where_the_run_began(begun, tmp_path, monkeypatch):
    settings, dataset = begun
    monkeypatch.chdir(tmp_path)
    told = io.StringIO()
    found = open_own(settings, tmp_path, dataset.classes, Console(told))
    assert found.valid.labels.tolist() == dataset.valid.labels.tolist()
    assert told.getvalue() == "", "they have not changed"


def test_data_of_this_folder_come_first(begun, drawn, tmp_path, monkeypatch):
    settings, dataset = begun
    (tmp_path / drawn.name).symlink_to(drawn / sorted(p.name for p in drawn.iterdir())[0])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError):
        open_own(settings, tmp_path, dataset.classes, NOWHERE)


@pytest.mark.parametrize("about", ["{}", "[]", '{"source": 3}'])
def test_without_a_record_the_config_counts(begun, tmp_path, monkeypatch, about):
    settings, dataset = begun
    (tmp_path / "data.json").write_text(about)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        open_own(settings, tmp_path, dataset.classes, NOWHERE)


def test_a_run_records_the_whole_path(finished, drawn):
    about = json.loads((finished / "data.json").read_text())
    assert about["source"] == f"folder:{drawn}"
    assert place.absolute("digits") == "digits" and place.is_there("digits")
    assert place.absolute("folder:gs://bucket/x") == "folder:gs://bucket/x"


@pytest.mark.parametrize(
    ("name", "source", "other", "wanted"),
    [
        ("/data/photos/a/1.png", "folder:/data/photos", "folder:photos", "photos/a/1.png"),
        ("/data/photos/a/1.png", "folder:/data/photos", "folder:.", "a/1.png"),
        ("/data/x/1.png", "csv:/data/all.csv", "csv:all.csv", "x/1.png"),
        ("/elsewhere/1.png", "csv:/data/all.csv", "csv:all.csv", "/elsewhere/1.png"),
        ("digits/17", "digits", "digits", "digits/17"),
    ],
)
def test_examples_keep_the_names_that_the_run_knew(name, source, other, wanted):
    assert place.renamed(name, source, other) == wanted
