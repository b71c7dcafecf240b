"""Rows survive a truncated line; JSON files, plots and lines on the terminal."""

import io
import json
import re

from matplotlib import image

from jaxft.config import load
from jaxft.configs import base
from jaxft.report import tables
from jaxft.report.losses import plot_losses
from jaxft.runtime.console import Console
from jaxft.workdir.rows import append_row, read_rows, rewind_rows, write_json

ROW = {
    "phase": "head",
    "epoch": 1,
    "trn_loss": 0.5,
    "val_loss": 0.25,
    "accuracy": 0.75,
    "seconds": 75.0,
    "lr": {"head": 0.1},
    "input_wait": 0.0,
}


def test_rows_come_back_without_a_last_line_cut_off(tmp_path):
    file = tmp_path / "metrics.jsonl"
    assert read_rows(file) == []
    append_row(file, {"a": 1})
    append_row(file, {"a": 2})
    file.write_text(file.read_text() + '{"a": ')
    assert read_rows(file) == [{"a": 1}, {"a": 2}]


def test_rewinding_keeps_the_first_rows_and_drops_a_cut_one(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"a": 1}\n{"a": 2}\n{"a"')
    rewind_rows(file, 1)
    append_row(file, {"a": 3})
    assert read_rows(file) == [{"a": 1}, {"a": 3}]
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_json_is_replaced_whole_and_readable_by_others(tmp_path):
    file = tmp_path / "summary.json"
    write_json(file, {"a": 1})
    write_json(file, {"a": [2]})
    assert json.loads(file.read_text()) == {"a": [2]}
    assert file.stat().st_mode & 0o777 == 0o644
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]


def test_no_terminal_gets_lines_and_no_bars():
    stream = io.StringIO()
    console = Console(stream)
    with console.bar(3, "reading") as bar:
        bar.update(3)
        console.say("one line")
    assert stream.getvalue() == "one line\n"


def test_a_terminal_gets_bars():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with Console(stream).bar(3, "reading") as bar:
        bar.update(3)
    assert "reading" in stream.getvalue()


def test_a_silent_console_says_nothing(capsys):
    console = Console(None)
    console.say("nothing")
    with console.bar(3, "reading") as bar:
        bar.update(3)
    assert capsys.readouterr() == ("", "")


def test_epoch_lines_stand_under_the_header():
    line = tables.epoch_line(ROW)
    assert line.split() == ["1", "0.5000", "0.2500", "0.7500", "1:15"]
    assert len(line) == len(tables.HEADER)
    assert tables.epoch_line({**ROW, "best": True}).endswith("best so far")
    assert "waited" in tables.epoch_line({**ROW, "input_wait": 0.5})
    assert "(balanced 0.7000)" in tables.epoch_line({**ROW, "balanced_accuracy": 0.7})


def test_the_summary_names_the_bottleneck(tmp_path):
    kept = {"phase": "head", "epoch": 1}
    summary = {"accuracy": 0.5, "val_loss": 1.0, "seconds": 9.0, "phases": [], "best": kept}
    summary |= {"best_by": "accuracy", "advice": None, "baselines": None}
    assert "(head, epoch 1, the best by accuracy)" in tables.summary_text(summary, tmp_path)
    advised = tables.summary_text({**summary, "advice": "Try more."}, tmp_path)
    assert advised.splitlines()[-1] == "Try more."
    simple = {"baselines": {"logistic_regression": 0.5, "nearest_neighbours": 0.25}}
    last = tables.summary_text(summary | simple, tmp_path).splitlines()[-1]
    assert last.endswith(": logistic regression 0.5000, nearest neighbours 0.2500")
    assert "bottleneck" not in tables.summary_text({**summary, "bottleneck": None}, tmp_path)
    assert "bottleneck" not in tables.summary_text(summary, tmp_path), "of an older release"
    found = {"phase": "full", "input_wait": 0.4, "remedy": "more cores"}
    last = tables.summary_text({**summary, "bottleneck": found}, tmp_path).splitlines()[-1]
    assert last == (
        "bottleneck: reading images; full waited for them 40% of its time. What helps: more cores"
    )


def test_the_table_of_phases_says_all_that_will_happen():
    text = tables.phases_table(load.read(base.get_config()), 19)
    for words in ("head_cached", "cached", "early 0.01, late 0.1, head 1", "until over-fitting"):
        assert words in text
    assert "19 steps per epoch, 64 images per step" in text


def test_the_table_of_phases_names_a_warm_up():
    config = base.get_config()
    config.phases[1].warmup_epochs = 0.5
    config.phases[2].warmup_epochs = 1.0
    text = tables.phases_table(load.read(config), 10)
    parts = re.split(r"\n(?=head_|full)", text)[1:]
    cached, augmented, full = (" ".join(part.split()) for part in parts)
    assert "warm-up" not in cached
    assert augmented.endswith("epochs, warm-up of 0.5 epochs")
    assert "epochs, warm-up of 1 epoch " in full
    assert max(map(len, text.splitlines())) <= 80


def test_losses_are_drawn_even_after_one_epoch_or_with_a_loss_of_zero(tmp_path):
    for number, rows in enumerate(([ROW], [ROW, {**ROW, "phase": "full", "trn_loss": 0.0}])):
        path = tmp_path / f"{number}.png"
        plot_losses(rows, ROW, path)
        assert image.imread(path).shape[2] == 4
