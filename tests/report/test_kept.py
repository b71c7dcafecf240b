"""The table of averages: in text at a run's end, and on its page."""

import made_up_run
import pytest

from jaxft.recipe import best_epoch
from jaxft.report import kept, tables
from jaxft.report.page import page

BEST = {"weights": "best epoch", "accuracy": 0.9, "val_loss": 0.3, "t": None, "p": None}
LAST = {"weights": "full, epoch 3", "accuracy": 0.85, "val_loss": None, "t": None, "p": 0.5}
SWA = {"weights": "SWA of 2 cycle ends", "accuracy": 0.95, "val_loss": 0.25, "t": -3.25, "p": 0.031}
ROWS = [BEST, LAST, {**SWA, "ends": ["full-1", "full-3"]}]


def told(chosen=None, rows=ROWS, left_out=()):
    return {"rows": rows, "chosen": chosen, "left_out": list(left_out)}


def test_the_table_has_a_line_for_each_and_a_verdict():
    head, rule, *lines, verdict = kept.lines(told(SWA["weights"]))
    assert head.split() == ["weights", "accuracy", "val_loss", "t", "p"]
    assert {len(line) for line in lines} == {len(rule)}
    assert lines[0].split() == ["best", "epoch", "0.9000", "0.3000"]
    assert lines[1].split() == ["full,", "epoch", "3", "0.8500", "0.5"]
    assert lines[2].endswith("0.9500   0.2500   -3.25   0.031")
    assert verdict.startswith("SWA of 2 cycle ends: better than the best epoch")


@pytest.mark.parametrize(
    ("rows", "words"),
    [(ROWS, "no average beats the best epoch"), (ROWS[:2], "fewer than two cycle ends")],
)
def test_the_verdict_where_the_best_epoch_is_kept(rows, words):
    assert kept.verdict(told(rows=rows)).startswith(words)


def test_the_end_of_a_run_names_the_average(tmp_path):
    summary = made_up_run.summary() | {"kept": told(SWA["weights"])}
    summary["best"] |= {"average": SWA["weights"]}
    text = tables.summary_text(summary, tmp_path)
    assert "(SWA of 2 cycle ends, the best by accuracy)" in text
    assert kept.lines(summary["kept"])[-1] in text
    assert best_epoch.in_words(made_up_run.summary()["best"]) == "full, epoch 3"


def page_of(folder, **changes):
    run = made_up_run.write(folder / "run")
    summary = made_up_run.summary()
    summary["kept"] = told(**changes)
    if changes.get("chosen"):
        summary["best"] |= {"average": changes["chosen"]}
    made_up_run.save(run / "summary.json", summary)
    return page.page(run).decode()


def test_the_page_marks_the_average_and_no_epoch(tmp_path):
    html = page_of(tmp_path, chosen=SWA["weights"])
    assert '<a href="#kept">Averages</a>' in html
    assert '<tr class="chosen"><th scope="row">SWA of 2 cycle ends (kept)</th>' in html
    assert '<td class="n">-3.25</td>' in html
    assert "SWA of 2 cycle ends: better than the best epoch" in html
    assert "kept: full" not in html


def test_the_page_marks_the_epoch_where_no_average_wins(tmp_path):
    html = page_of(tmp_path, left_out=["full-1.npz <is> damaged"])
    assert "No average beats the best epoch" in html and "(kept)" not in html
    assert "Left out: full-1.npz &lt;is&gt; damaged" in html
    assert "kept: full" in html
