"""The notebook of the pages: its cells run, and its outputs are theirs."""

import notebook
import pytest
import tiny_body
from places import ROOT

from jaxft.cli import python
from jaxft.cli.config_file import load_config
from jaxft.models.registry import BODIES

TUTORIAL = notebook.read(ROOT / "docs" / "tutorial.ipynb")
SMALLER = (
    *("model.name=tiny", "model.weights=none", "model.hidden=(8,)", "data.image_size=32"),
    *("finder.steps=24", "drift_images=0"),
)


def kinds(outputs):
    """For each output of a cell, its kind and what it can be shown as."""
    return [(one["output_type"], sorted(one.get("data", ()))) for one in outputs]


def test_the_outputs_are_of_one_run_from_top_to_bottom():
    cells = notebook.code_cells(TUTORIAL)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    pictures = [
        one for cell in cells for one in cell["outputs"] if "image/png" in one.get("data", ())
    ]
    assert len(pictures) == 3


@pytest.mark.slow
def test_the_cells_run_and_show_what_is_shown(tmp_path, monkeypatch):
    """With a network of a few channels, which is another in its numbers alone."""
    flags = [f"--config.{item}" for item in SMALLER]
    monkeypatch.setattr(
        python, "load_config", lambda name, items: load_config(name, [*items, *flags])
    )
    monkeypatch.setitem(BODIES, "tiny", tiny_body.body)
    monkeypatch.chdir(tmp_path)
    found = list(notebook.run(TUTORIAL))
    shown = [cell["outputs"] for cell in notebook.code_cells(TUTORIAL)]
    assert [kinds(outputs) for outputs in found] == [kinds(outputs) for outputs in shown]
    complaint = [outputs for outputs in shown if "unreadable" in str(outputs)]
    assert complaint and complaint == [one for one in found if "unreadable" in str(one)]
