"""`report.html`: a run on one page that holds all it shows, its style and its pictures, too."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from jaxft.errors import UserError
from jaxft.report.page import (
    answers,
    averages,
    course,
    drift,
    facts,
    range_tests,
    times,
    verdicts,
)
from jaxft.report.page.chart import Entry
from jaxft.report.page.contents import Contents, read
from jaxft.report.page.pictures import pictures
from jaxft.runtime import hosts, paths
from jaxft.runtime.paths import AnyPath
from jaxft.runtime.version import VERSION

FILE = "report.html"
TEMPLATES = Path(__file__).parent / "templates"
MARK = b'<meta name="generator" content="jaxft report">'
HEAD_BYTES = 500  # among which the mark is
SECTIONS = {
    "phases": "Phases",
    "course": "Losses and rates",
    "times": "Time",
    "range_tests": "Learning rates",
    "drift": "Features",
    "kept": "Averages",
    "about_scores": "Validation",
    "wrong": "Images",
    "starts": "Environment",
    "config": "Config",
}


@hosts.first_only
def write(workdir: AnyPath) -> None:
    """Write a run's page into its workdir, unless a file of the user's is in its place."""
    if is_free(workdir / FILE):
        content = page(workdir)
        paths.write(workdir / FILE, lambda file: file.write(content))


def write_to(workdir: AnyPath, output: AnyPath) -> tuple[str, ...]:
    """Write a run's page to a place, where nothing is but perhaps an earlier page of this run.

    Returns:
      A line on each file of the run that is damaged, or was changed since it began.

    Raises:
      UserError: there is a file, or no folder for it; the workdir holds no run.
    """
    own = paths.absolute(output) == paths.absolute(workdir / FILE)
    if output.is_dir():
        raise UserError(f"{output} is a folder", hint="--output is the file to write.")
    if output.exists() and not (own and is_free(output)):
        raise UserError(f"{output} already exists", hint="Give another --output.")
    found = read(workdir)
    content = _rendered(found)
    if not paths.is_remote(output) and not output.parent.is_dir():
        raise UserError(f"{output}: no folder {output.parent}")
    paths.write(output, lambda file: file.write(content))
    return found.damaged


def is_free(path: AnyPath) -> bool:
    """Tell whether nothing is there, or an earlier page of this kind."""
    return not path.exists() or MARK in paths.read(path)[:HEAD_BYTES]


def page(workdir: AnyPath) -> bytes:
    """Return the page of what a workdir holds.

    Raises:
      UserError: it holds no run.
    """
    return _rendered(read(workdir))


def _rendered(found: Contents) -> bytes:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("page.html.jinja")
    text: str = template.render(_shown(found))
    return text.encode(errors="replace")


def _shown(found: Contents) -> Mapping[str, Any]:
    """Return everything that the template shows; what is not known is empty."""
    shown = pictures(found.pictures)
    heads, rows = facts.epochs(found)
    parts = {
        "phases": times.phase_rows(found),
        "course": course.charts(found),
        "times": times.time_line(found),
        "range_tests": range_tests.range_tests(found),
        "drift": drift.drift(found),
        "kept": averages.told(found),
        "about_scores": answers.about(found.scores) if found.scores else "",
        "wrong": answers.wrong_rows(found),
        "sheets": [picture for name, picture in shown.items() if name != "confusion"],
        "starts": facts.starts(found),
        "facts": facts.tables(found),
        "config": facts.config(found),
    }
    return {
        **parts,
        "sections": [(key, title) for key, title in SECTIONS.items() if _is_there(key, parts)],
        "name": found.name,
        "subtitle": verdicts.subtitle(found),
        "figures": verdicts.figures(found),
        "verdicts": verdicts.verdicts(found),
        "damaged": found.damaged,
        "epoch_heads": heads,
        "epochs": rows,
        "time_legend": [Entry(kind, text) for kind, text in times.LEGEND.items()],
        "pictures": shown,
        "classes": answers.class_rows(found.scores),
        "drift_heads": drift.HEADS,
        "class_heads": answers.CLASS_HEADS,
        "few": answers.FEW,
        "confusion": answers.confusion(found),
        "confused": answers.confused(found.scores),
        "calibration": answers.calibration(found.scores),
        "version": VERSION,
        "written": facts.when(time.time()),
    }


def _is_there(key: str, parts: Mapping[str, Any]) -> bool:
    """Tell whether a section has anything to show; two of them have either of two parts."""
    either = {"wrong": "sheets", "starts": "facts"}
    return bool(parts[key] or parts.get(either.get(key, "")))
