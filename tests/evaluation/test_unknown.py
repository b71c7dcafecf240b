"""Distances to a run's training images, and the columns of `predict --unknown`."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from jaxft.cli import main
from jaxft.errors import UserError
from jaxft.evaluation import predict, unknown
from jaxft.features import inference

COLUMNS = ["file", "label", "distance", "farther", "p_blue", "p_green", "p_red"]


def features(count, seed):
    return np.random.default_rng(seed).gamma(0.5, 1.0, (count, 24)).astype(np.float32)


@pytest.mark.parametrize("neighbours", [1, 3])
@pytest.mark.parametrize("rows", [1024, 4])
def test_distances_are_those_of_the_whole_matrix(neighbours, rows, monkeypatch):
    monkeypatch.setattr(unknown, "NEIGHBOURS", neighbours)
    monkeypatch.setattr(unknown, "ROWS", rows)
    some, known = features(7, 0), features(31, 1)
    length = [np.linalg.norm(x.astype(float), axis=1) for x in (some, known)]
    cosines = (some.astype(float) @ known.T) / np.outer(*length)
    expected = np.sort(1 - cosines, axis=1)[:, neighbours - 1]
    found = unknown.distances(some, [known[:9], known[9:]])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_length_of_features_does_not_matter_and_zeros_are_no_nan(monkeypatch):
    monkeypatch.setattr(unknown, "NEIGHBOURS", 1)
    known = features(5, 0)
    found = unknown.distances(np.stack([known[2] * 7, np.zeros(24, np.float32)]), [known])
    np.testing.assert_allclose(found, [0, 1], atol=1e-6)
    assert found[0] >= 0


def test_of_fewer_training_images_than_neighbours_the_farthest_counts():
    known = features(3, 0)
    assert unknown.distances(known[:1], [known])[0] > unknown.distances(known[:1], [known[:1]])[0]


def test_share_farther_counts_the_image_itself():
    usual = np.array([0.1, 0.2, 0.2, 0.4])
    found = unknown.share_farther(np.array([0.0, 0.2, 0.3, 0.4, 0.5]), usual)
    np.testing.assert_allclose(found, [1, 4 / 5, 2 / 5, 2 / 5, 1 / 5])


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """An image like none of the drawn ones, which are smooth."""
    file = tmp_path_factory.mktemp("noise") / "noise.png"
    pixels = np.random.default_rng(0).integers(0, 2, (40, 40, 1)) * np.full(3, 255)
    Image.fromarray(pixels.astype(np.uint8)).save(file)
    return file


def test_the_table_tells_how_far_each_image_is(finished, tiny, drawn, noise, tmp_path):
    plain, told = tmp_path / "plain.csv", tmp_path / "told.csv"
    files = [str(drawn), str(noise)]
    predict.predict_files(finished, files, plain)
    predict.predict_files(finished, files, told, unknown=True)
    rows = table(told)
    assert list(rows[0]) == COLUMNS
    for row, before in zip(rows, table(plain), strict=True):
        assert {name: row[name] for name in before} == before
    distance = np.array([float(row["distance"]) for row in rows])
    farther = np.array([float(row["farther"]) for row in rows])
    assert distance[42] > distance[:42].max()
    assert farther[42] == pytest.approx(1 / 14, abs=1e-6)  # 13 validation images, none as far
    assert farther.max() == 1
    order = np.argsort(distance)
    assert (np.diff(farther[order]) <= 0).all()


def test_features_of_the_runs_images_are_computed_once(
    finished, tiny, drawn, noise, tmp_path, monkeypatch
):
    asked, compute = [], inference.extract_parts

    def counting(*arguments):
        asked.append(arguments)
        return compute(*arguments)

    monkeypatch.setattr(inference, "extract_parts", counting)
    workdir = shutil.copytree(finished, tmp_path / "run")
    config = json.loads((workdir / "config.json").read_text())
    config["cache_dir"] = str(tmp_path / "cache")
    (workdir / "config.json").write_text(json.dumps(config))
    for name, expected in (("first", 3), ("again", 1)):
        asked.clear()
        predict.predict_files(workdir, [str(noise)], tmp_path / name, unknown=True)
        assert len(asked) == expected, name
    assert (tmp_path / "first").read_text() == (tmp_path / "again").read_text()


def changed(finished, tmp_path, source):
    """A run whose data are said to be elsewhere."""
    workdir = shutil.copytree(finished, tmp_path / "run")
    config = json.loads((workdir / "config.json").read_text())
    config["data"]["source"] = f"folder:{source}"
    (workdir / "config.json").write_text(json.dumps(config))
    return workdir


def test_without_the_runs_images_nothing_is_computed(finished, tiny, noise, tmp_path, monkeypatch):
    monkeypatch.setattr(inference, "extract_parts", None)
    workdir = changed(finished, tmp_path, "gone")
    (workdir / "data.json").write_text("{}")
    with pytest.raises(UserError, match=r"--unknown needs the images .* trained on: .*gone"):
        predict.predict_files(workdir, [str(noise)], tmp_path / "out.csv", unknown=True)
    assert not (tmp_path / "out.csv").exists()


def test_other_classes_are_named(finished, tiny, drawn, noise, tmp_path):
    others = shutil.copytree(drawn, tmp_path / "others")
    (others / "red").rename(others / "pink")
    with pytest.raises(UserError, match="--unknown needs") as error:
        predict.predict_files(
            changed(finished, tmp_path, others), [str(noise)], tmp_path / "out", unknown=True
        )
    assert error.value.offenders == ("only in the run: red", "only in the data: pink")


def test_unreadable_images_of_the_run_are_listed(finished, tiny, drawn, noise, tmp_path):
    others = shutil.copytree(drawn, tmp_path / "others")
    for name in ("red/00.png", "blue/03.png"):
        (others / name).write_bytes(b"no image")
    with pytest.raises(UserError, match="2 unreadable images") as error:
        predict.predict_files(
            changed(finished, tmp_path, others), [str(noise)], tmp_path / "out", unknown=True
        )
    assert len(error.value.offenders) == 2
    assert not (tmp_path / "out").exists()


def test_the_verb_has_a_flag_for_it(finished, tiny, noise, tmp_path):
    output = tmp_path / "out.csv"
    words = [f"--workdir={finished}", f"--output={output}", "--unknown", str(noise)]
    assert main.main(["predict", *words]) == 0
    assert list(table(output)[0]) == COLUMNS
