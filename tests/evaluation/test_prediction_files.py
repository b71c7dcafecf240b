"""Predictions as files that other programs read, and what may keep them from being written."""

import csv
import io
import json
import os
import sys

import numpy as np
import pyarrow.parquet
import pytest

from jaxft.cli import main
from jaxft.errors import UserError
from jaxft.evaluation import prediction_files
from jaxft.evaluation.prediction_files import Layout, Predicted
from jaxft.runtime import csv_rows

NAMES = ("=1+1.png", os.fsdecode(b"caf\xe9.png"), "10.png")
CLASSES = ("cat", "@dog", "owl")
FOUND = Predicted(
    NAMES,
    CLASSES,
    np.array([[0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]], np.float32),
    {"distance": np.array([0.5, np.nan, 0.25])},
)


def written(tmp_path, name, layout=Layout()):  # noqa: B008
    prediction_files.write(tmp_path / name, layout, FOUND)
    return tmp_path / name


def test_csv_is_defused_and_comes_back(tmp_path):
    text = written(tmp_path, "x.csv").read_bytes().decode(errors="surrogateescape")
    assert text.startswith("file,label,distance,p_cat,p_@dog,p_owl\r\n'=1+1.png,'@dog,0.500000,")
    rows = [*csv_rows.read(text)]
    assert tuple(row["file"] for row in rows) == NAMES
    assert [row["label"] for row in rows] == ["@dog", "cat", "owl"]
    assert float(rows[2]["p_owl"]) == pytest.approx(0.8)


def test_json_is_valid_and_holds_numbers(tmp_path):
    content = written(tmp_path, "x.json").read_bytes().decode("utf-8")
    rows = json.loads(content, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert [row["file"] for row in rows] == ["=1+1.png", "caf\\xe9.png", "10.png"]
    assert rows[0] == {
        **{"file": "=1+1.png", "label": "@dog", "distance": 0.5},
        **{"p_cat": 0.2, "p_@dog": 0.7, "p_owl": 0.1},
    }
    assert rows[1]["distance"] is None


def test_parquet_holds_the_same_as_json(tmp_path):
    rows = json.loads(written(tmp_path, "x.json").read_text())
    table = pyarrow.parquet.read_table(written(tmp_path, "x.parquet"))
    assert table.column_names == list(rows[0])
    for row, other in zip(rows, table.to_pylist(), strict=True):
        for name, value in row.items():
            if value is None:
                assert np.isnan(other[name])
            else:
                assert other[name] == (value if isinstance(value, str) else pytest.approx(value))


@pytest.mark.parametrize(
    ("output", "given", "kind"),
    [
        ("x.JSON", "", "json"),
        ("gone/x.parquet", "", "parquet"),
        ("x.json", "csv", "csv"),
        ("json", "", "csv"),
        ("-", "", "csv"),
        ("x.tsv", "", "csv"),
    ],
)
def test_the_suffix_tells_the_format_unless_it_is_given(output, given, kind):
    assert prediction_files.format_of(output, Layout(given)) == kind


def test_the_most_probable_classes_come_first(tmp_path):
    rows = [*csv_rows.read(written(tmp_path, "x", Layout("csv", 2)).read_text(errors="replace"))]
    assert list(rows[0]) == ["file", "label_1", "p_1", "label_2", "p_2", "distance"]
    assert [(row["label_1"], row["label_2"]) for row in rows] == [
        ("@dog", "cat"),
        ("cat", "@dog"),
        ("owl", "cat"),
    ]
    assert float(rows[1]["p_2"]) == pytest.approx(0.3)
    all_of_them = json.loads(written(tmp_path, "y", Layout("json", 9)).read_text())
    assert [name for name in all_of_them[0] if name.startswith("label")] == [
        "label_1", "label_2", "label_3"
    ]  # fmt: skip


def test_a_submission_is_sorted_and_exact(tmp_path):
    content = written(tmp_path, "x", Layout("submission", columns="id,label", id="stem"))
    assert content.read_bytes() == b"id,label\r\n10,owl\r\n=1+1,@dog\r\ncaf\xe9,cat\r\n"


def test_an_output_that_cannot_be_written_is_told_before_any_work(tmp_path):
    (tmp_path / "mine.csv").write_text("mine")
    for name, told in (
        ("mine.csv", "mine.csv already exists"),
        ("gone/x.csv", "no such folder"),
        ("x" * 300, "file name too long"),
    ):
        with pytest.raises(UserError, match="cannot be written") as error:
            prediction_files.demand(tmp_path / name, Layout())
        assert told in error.value.offenders[0] and "--output" in error.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]
    assert (tmp_path / "mine.csv").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="permission denied"):
        prediction_files.demand(tmp_path / "x.csv", Layout())
    tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--format=submission", "--topk=2", "--unknown"], "  - --topk\n  - --unknown\n"),
        (["--columns=id,label", "--id=stem", "--output=new.csv"], "  - --columns\n  - --id\n"),
        (["--output=-", "--format=parquet"], "into a file"),
        (["--output=nowhere/x.csv"], "no such folder: nowhere"),
        ([], "predictions.csv already exists\nGive another --output"),
        (["--format=submission", "--columns=id,pink,red"], "  - pink\n"),
    ],
)
def test_mistakes_are_told_before_any_image(
    words, told, finished, tiny, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for name in ("predictions.csv", "no_image.png"):
        (tmp_path / name).write_text("mine")
    assert main.main(["predict", f"--workdir={finished}", *words, "no_image.png"]) == 2
    assert told in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"predictions.csv", "no_image.png"}


def test_stdout_holds_the_table_alone(finished, tiny, drawn, capsys):
    files = [str(drawn / "red" / f"{number:02d}.png") for number in range(2)]
    assert main.main(["predict", f"--workdir={finished}", "--output=-", *files]) == 0
    out, err = capsys.readouterr()
    rows = [*csv.DictReader(io.StringIO(out, newline=""))]
    assert [row["file"] for row in rows] == files
    assert rows[0]["label"] in err and err.endswith("2 images -> -\n")


def test_a_terminal_gets_no_control_characters(capsysbinary, monkeypatch):
    found = FOUND._replace(files=("\x1b]0;owned\x07", "b", "c"), extra={})
    prediction_files.write("-", Layout(), found)
    assert b"\x1b" in capsysbinary.readouterr().out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    prediction_files.write("-", Layout(), found)
    shown = capsysbinary.readouterr().out
    assert b"\x1b" not in shown and shown.splitlines()[1].startswith(b"\\u001b]0;owned\\u0007,")


def test_bad_files_are_left_out_and_listed_at_the_end(finished, tiny, drawn, tmp_path, capsys):
    (tmp_path / "bad.png").write_text("no image")
    (tmp_path / "cut.png").write_bytes((drawn / "red" / "00.png").read_bytes()[:60])
    good, output = str(drawn / "red" / "01.png"), tmp_path / "out.json"
    bad = [str(tmp_path / name) for name in ("bad.png", "cut.png")]
    words = ["predict", f"--workdir={finished}", f"--output={output}"]
    assert main.main([*words, bad[0], good, bad[1]]) == 2
    assert not output.exists()
    assert main.main([*words, "--skip-bad", bad[0], good, bad[1]]) == 0
    capsys.readouterr()
    words[2] = "--output=-"
    assert main.main([*words, "--skip-bad", bad[0], good, bad[1]]) == 0
    *_, count, title, first, second = capsys.readouterr().err.splitlines()
    assert (count, title) == ("1 image -> -", "warning: 2 unreadable images skipped:")
    assert first.startswith(f"  - {bad[0]}: not an image") and second.startswith(f"  - {bad[1]}: ")
    assert [row["file"] for row in json.loads(output.read_text())] == [good]
    assert main.main([*words[:2], f"--output={tmp_path / 'none.csv'}", "--skip-bad", *bad]) == 2
    told = capsys.readouterr().err
    assert "2 unreadable images, and no other image:" in told and all(file in told for file in bad)
    assert not (tmp_path / "none.csv").exists()


def test_a_submission_of_a_folder_is_one_command(finished, tiny, drawn, tmp_path, monkeypatch):
    (tmp_path / "test").mkdir()
    for number, kind in ((10, "red"), (9, "blue")):
        (tmp_path / "test" / f"{number}.png").symlink_to(drawn / kind / "00.png")
    monkeypatch.chdir(tmp_path)
    words = [f"--workdir={finished}", "--format=submission", "--columns=Id,Category", "--id=stem"]
    assert main.main(["predict", *words, "test"]) == 0
    rows = [line.split(",") for line in (tmp_path / "submission.csv").read_text().splitlines()]
    assert rows[0] == ["Id", "Category"] and [row[0] for row in rows[1:]] == ["9", "10"]
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "9.png").symlink_to(drawn / "blue" / "01.png")
    (tmp_path / "submission.csv").unlink()
    assert main.main(["predict", *words, "test", "more"]) == 2
    assert not (tmp_path / "submission.csv").exists()
