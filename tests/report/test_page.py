"""The page of a run: all that a workdir holds is on it, nothing is loaded, nothing is run."""

import json
import re
import shutil
from html.parser import HTMLParser

import browser
import made_up_run
import pytest

from jaxft.cli import main
from jaxft.report.page import axes, contents, page, text, times
from jaxft.workdir import checkpoint

SCRIPT = "<script>alert(1)</script>"
VOID = {"meta", "link", "img", "br"}
ALONE = {"rect", "line", "circle", "path"}  # of SVG, closed by themselves here


class Reader(HTMLParser):
    """Text and attributes of a page; every element must be closed."""

    def __init__(self, html):
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.tags: set[str] = set()
        self.feed(html)
        assert self.open == []

    def handle_startendtag(self, tag, attributes):
        assert tag in ALONE
        self._note(tag, attributes)

    def handle_starttag(self, tag, attributes):
        self._note(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    def _note(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += [(tag, *pair) for pair in attributes]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, name):
        return [value for _, key, value in self.attributes if key == name]


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """A made-up workdir; not to be changed."""
    return made_up_run.write(tmp_path_factory.mktemp("made_up") / "run")


def read(workdir):
    return Reader(page.page(workdir).decode())


def test_a_page_shows_all_that_a_workdir_holds(made_up):
    told = read(made_up).text
    assert "validation accuracy 0.9375 95% interval 0.8000 to 0.9800" in told
    assert "weights kept full, epoch 3 the best by accuracy time 25.0s" in told
    assert "has finished all of its 2 phases" in told
    assert "The network beats both." in told
    assert "Try a lower rate." in told
    assert "Bottleneck: reading images" in told
    assert "head 0.9000 0.4000 0.3000 4 2 3 1.00e-02 over-fitting" in told
    assert "early and late unfrozen, step 40" in told
    assert "restart, step 20" in told
    assert "full: compilation 1.0s" in told and "opening data and model 5.0s" in told
    assert "1.0s (10%) 2.0s (20%) 7.0s (70%)" in told
    assert "fall : it falls" in told and "steep 2.00e-02 steepest" in told
    assert "validation loss 0.5000 at 1.00e-02" in told
    assert "Features moved far (CKA early 0.60, late 0.30)" in told
    assert "2 0.9000 0.4500 0.9000 0.4500 0.9000 0.8000 0.8500 0.0310 65.4 1,230" in told
    assert "cat 10 10 0.7000 0.7000 0.7000" in told
    assert "3 of 10 images of cat predicted as dog" in " ".join(read(made_up).all("title"))
    assert "it is more than 1, so the network is too sure of itself" in told
    assert "true cat dog owl cat 7 3 0" in told
    assert "owl/1.jpg owl cat 0.1000 0.8000 2.3026" in told
    assert "2023-11-14 22:13 UTC 0 80 overfit 2 gpu (NVIDIA H100)" in told
    assert "jax 0.10.2" in told and "sha256 0123" in told
    assert "source folder:pets" in told and "groups.late 0.001" in told
    assert "are damaged, and left out" not in told


def test_a_page_is_small_and_loads_nothing(made_up):
    html = page.page(made_up).decode()
    assert len(html) < 5e6
    assert len([source for source in Reader(html).all("src")]) == 3
    addresses = [*Reader(html).all("src"), *Reader(html).all("href")]
    assert all(re.match(r"data:|#", address) for address in addresses)
    assert "@import" not in html and "url(" not in html.replace("url(#", "")
    assert "script" not in Reader(html).tags
    assert "default-src 'none'" in html


def test_names_are_escaped_everywhere(tmp_path):
    run = made_up_run.write(tmp_path / "run", classes=(SCRIPT, 'a" onload="x', "owl"))
    summary = made_up_run.summary()
    summary["phases"][0]["lr_reason"] = summary["advice"] = SCRIPT
    made_up_run.save(run / "summary.json", summary)
    rows = [{**row, "phase": SCRIPT} if row["epoch"] else row for row in made_up_run.rows()]
    made_up_run.save_rows(run / "metrics.jsonl", rows)
    found = read(run)
    assert "script" not in found.tags and "onload" not in dict(a[1:] for a in found.attributes)
    assert found.text.count(SCRIPT) > 10
    assert any(SCRIPT in title for title in found.all("title"))


@pytest.mark.parametrize(
    "kept", [(), ("config.json",), ("metrics.jsonl",), ("summary.json",), ("config.json", "valid")]
)
def test_half_a_workdir_shows_what_is_there(made_up, tmp_path, kept, capsys):
    for name in kept:
        (tmp_path / name).symlink_to(made_up / name)
    if not kept:
        assert main.main(["report", f"--workdir={tmp_path}"]) == 2
        assert "holds no run" in capsys.readouterr().err
        return
    found = read(tmp_path)
    targets = [address[1:] for address in found.all("href") if address.startswith("#")]
    assert set(targets) <= set(found.all("id"))
    assert ("about_scores" in targets) == ("valid" in kept)
    assert ("course" in targets) == ("metrics.jsonl" in kept)
    assert not {"None", "nan", "Undefined"} & set(re.findall(r"\w+", found.text))


def test_a_run_that_was_interrupted_in_its_second_phase(made_up, tmp_path):
    run = made_up_run.write(tmp_path / "run", valid=False)
    summary = made_up_run.summary()
    summary["phases"].pop()
    made_up_run.save(run / "summary.json", {**summary, "ended_by": "interrupted"})
    told = read(run).text
    assert "interrupted in phase 2 of 2" in told
    assert re.search(r"full 0\.9375 .* not finished", told)
    line = times.time_line(contents.read(run))
    assert line is not None
    (*_, phase) = line.rows
    assert (phase.name, phase.total) == ("full", "8.0s")
    assert phase.cells == ["–", "2.0s (25%)", "6.0s (75%)"]  # noqa: RUF001
    (run / "summary.json").unlink()
    told = read(run).text
    assert "is under way or was killed" in told and "full, epoch 3 the best so far" in told


def test_a_loss_that_is_not_finite_leaves_a_gap(made_up, tmp_path):
    rows = made_up_run.rows()
    rows[2]["val_loss"] = float("nan")
    rows[5]["trn_loss"] = float("inf")
    made_up_run.save_rows(tmp_path / "metrics.jsonl", rows)
    html = page.page(tmp_path).decode()
    assert "nan" not in html and "inf " not in html
    paths = re.findall(r'<path class="line s[12]" d="([^"]+)"', html)
    assert [path.count("M") for path in paths[:2]] == [2, 2]


def test_a_config_that_was_changed_is_told_and_shown_as_it_was(
    made_up, tmp_path, monkeypatch, capsys
):
    run = tmp_path / "run"
    shutil.copytree(made_up, run)
    began = json.loads((run / "config.json").read_text())
    monkeypatch.setattr(checkpoint, "sealed", lambda _: {"config.json": began})
    assert "are damaged" not in read(run).text
    now = {**began, "seed": 1234567}
    (run / "config.json").write_text(json.dumps(now))
    told = read(run).text
    assert "or were changed since it began, and shown as they were" in told
    assert told.count("1234567") == 1, "in the line on it alone"
    assert main.main(["report", f"--workdir={run}", f"--output={tmp_path / 'page.html'}"]) == 0
    assert "warning: config.json seed" in capsys.readouterr().err


def test_a_damaged_file_is_named_and_left_out(tmp_path):
    run = made_up_run.write(tmp_path / "run")
    (run / "summary.json").write_text("{")
    (run / "valid/metrics.json").write_text("[]")
    (run / "valid/most_wrong.png").write_bytes(b"no picture")
    told = read(run).text
    assert "are damaged, and left out" in told and "summary.json: Expecting" in told
    assert "valid/metrics.json: no JSON object" in told
    assert "most wrong: the largest" not in told and "least sure" in told


def test_columns_of_classes_with_long_names_are_numbered(tmp_path):
    run = made_up_run.write(tmp_path / "run", classes=("Abyssinian", "Bengal"))
    assert "true 1 2 1. Abyssinian 7 3 2. Bengal 3 7" in read(run).text


def test_many_classes_are_drawn_and_folded(tmp_path):
    run = made_up_run.write(tmp_path / "run", classes=[f"class {n}" for n in range(100)])
    found = read(run)
    assert "The other 80 classes" in found.text
    assert "Confusion matrix of 100 classes" in found.text
    assert "3 of 10 images of class 99 predicted as class 0" in found.text
    scores = json.loads((run / "valid/metrics.json").read_text())
    made_up_run.save(run / "valid/metrics.json", {**scores, "confusion": None})
    assert len(read(run).all("src")) == 4  # confusion.png in its stead
    assert len(page.page(run)) < 5e6


@pytest.mark.parametrize(
    ("low", "high", "log", "words"),
    [
        (0, 780, False, ["0", "200", "400", "600"]),
        (0.41, 1.02, False, ["0.6", "0.8", "1"]),
        (5e-5, 4e-3, True, ["1e-4", "3e-4", "0.001", "0.003"]),
        (1e-4, 2e-4, True, ["1e-4", "2e-4"]),
        (1e-9, 1e9, True, ["1e-9", "1e-5", "0.1", "1,000", "1e7"]),
    ],
)
def test_ticks_are_round_and_few(low, high, log, words):
    ticks = axes.Scale(low, high, 0, 100, log).ticks()
    assert [tick.text for tick in ticks] == words
    assert all(-1e-6 <= tick.at <= 100 for tick in ticks)


def test_a_scale_of_one_value_has_room():
    for log in (False, True):
        scale = axes.scale([0.5, float("nan")], 0, 100, log)
        assert scale.low < 0.5 < scale.high
        assert 0 < scale(0.5) < 100
    assert text.four(float("nan")) == text.count(None) == text.NONE


# The verb.


def test_the_verb_writes_its_page_again_and_nothing_else(tmp_path, capsys):
    run = made_up_run.write(tmp_path / "run")
    before = sorted(run.rglob("*"))
    for _ in range(2):
        assert main.main(["report", f"--workdir={run}"]) == 0
    assert capsys.readouterr().out.splitlines() == [str(run / "report.html")] * 2
    assert sorted({*run.rglob("*")} - {*before}) == [run / "report.html"]
    assert (run / "report.html").read_bytes().startswith(b"<!doctype html>")
    output = tmp_path / "other.html"
    assert main.main(["report", f"--workdir={run}", f"--output={output}"]) == 0
    assert output.exists()


def test_the_verb_overwrites_no_file_but_its_own(made_up, tmp_path, capsys):
    run = made_up_run.write(tmp_path / "run")
    mine, theirs = run / "report.html", tmp_path / "other.html"
    mine.write_text("a user's own")
    theirs.write_bytes(page.page(made_up))
    taken = theirs.read_bytes()
    page.write(run)
    outputs = ["", f"--output={theirs}", f"--output={run}", f"--output={tmp_path / 'no' / 'x'}"]
    for output, word in zip(outputs, ("exists", "exists", "folder", "no folder"), strict=True):
        assert main.main(["report", f"--workdir={run}", *filter(None, [output])]) == 2
        assert word in capsys.readouterr().err
    assert (mine.read_text(), theirs.read_bytes()) == ("a user's own", taken)


@pytest.mark.parametrize("workdir", ["", "nowhere", "file"])
def test_the_verb_refuses_what_is_no_workdir(tmp_path, monkeypatch, workdir, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("{}")
    assert main.main(["report", f"--workdir={workdir}"]) == 2
    assert "workdir" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# In a browser.


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    if browser.PROGRAM is None:
        pytest.skip("no chromium")
    with browser.tab(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("classes", [3, 15, 100])
def test_in_a_browser_it_loads_fast_and_fits_a_phone(tab, tmp_path, classes):
    names = [f"a_class_with_a_long_name_{n}" for n in range(classes)]
    run = made_up_run.write(tmp_path / "run", classes=names)
    page.write(run)
    for width in (375, 1280):
        for dark in (False, True):
            tab.open((run / "report.html").as_uri(), width, dark=dark)
            tab.value("document.querySelectorAll('details').forEach(it => it.open = true)")
            assert tab.value("document.documentElement.scrollWidth") <= width
            assert tab.named("Log.entryAdded", "Runtime.exceptionThrown") == []
            assert tab.named("Runtime.consoleAPICalled") == []
            asked = [event["request"]["url"] for event in tab.named("Network.requestWillBeSent")]
            assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
            timing = "performance.getEntriesByType('navigation')[0].loadEventStart"
            assert tab.value(timing) < 2000
            light = tab.value("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
            assert (int(light) < 128) == dark
