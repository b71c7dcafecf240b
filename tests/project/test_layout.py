"""Imports: frameworks stay in their folders. Tests lie in folders of the same names."""

import ast
import tomllib
from pathlib import Path

import calls
import house
import pytest
from jaxtyping import TypeCheckError
from places import ROOT

from jaxft.recipe import schedules

FILES = sorted([*ROOT.glob("jaxft/**/*.py"), *ROOT.glob("configs/*.py")])
NAMES = [file.relative_to(ROOT).as_posix() for file in FILES]
ROOMS = {
    "flax": ("jaxft/models/",),
    "absl": ("configs/", "jaxft/data/feed.py"),
    "ml_collections": ("jaxft/cli/", "jaxft/config/", "configs/"),
    "grain": ("jaxft/data/feed.py",),
    "orbax": ("jaxft/workdir/checkpoint.py", "jaxft/workdir/saving.py"),
    "tensorflow_datasets": (
        "jaxft/data/sources/tfds.py",
        "jaxft/data/sources/prepared.py",
        "jaxft/data/prepare/tfds_metadata.py",
        "jaxft/data/sources/tfds_features.py",
        "jaxft/data/sources/trusted.py",
        "jaxft/data/prepare/shard.py",
    ),
    "jinja2": ("jaxft/report/page/", "jaxft/export/text.py"),
    "onnx": ("jaxft/export/onnx.py",),
    "onnxruntime": ("jaxft/export/onnx.py",),
    "array_record": ("jaxft/data/sources/prepared.py", "jaxft/data/prepare/shard.py"),
    "tensorboardX": ("jaxft/report/trackers/tensorboard.py",),
    "wandb": ("jaxft/report/trackers/wandb.py",),
    "mlflow": ("jaxft/report/trackers/mlflow.py",),
    "trackio": ("jaxft/report/trackers/trackio.py",),
    "torch": ("jaxft/export/torch_head.py",),  # which is written out, and never imported
    "torchvision": (),
    "tensorflow": (),
}


def imported(source: str) -> set[str]:
    """Top-level packages that a source imports anywhere, also inside functions."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.append(node.module or "")
    return {name.split(".")[0] for name in names}


def test_the_measure_sees_every_form_of_import():
    source = "import torch.nn as t\ndef f():\n    from flax import linen\nfrom . import orbax\n"
    assert imported(source) == {"torch", "flax"}


@pytest.mark.slow
@pytest.mark.parametrize("package", ROOMS)
def test_a_package_is_imported_only_in_its_rooms(package):
    assert len(FILES) > 20
    using = [
        name
        for name, file in zip(NAMES, FILES, strict=True)
        if package in imported(file.read_text()) and not name.startswith(ROOMS[package])
    ]
    assert using == []


def test_the_tests_lie_in_folders_of_the_package():
    """Apart from those of the project itself; the runs' are named after `jaxft/run.py`."""
    places = {
        place for file in house.sources().values() for place in (file.parent, file.with_suffix(""))
    }
    rooms = {place.relative_to(ROOT / "jaxft") for place in places} - {Path()}
    folders = {file.parent.relative_to(ROOT / "tests") for file in ROOT.glob("tests/**/test_*.py")}
    assert folders - rooms == {Path("project")}


def test_the_figures_of_the_house():
    """The figures of `make house` stay within their bounds."""
    assert house.main() == 0


HANGS = """
from jaxft.runtime import hosts
from jaxft.runtime.hosts import together

def agreed():
    return together(lambda: 1)

@hosts.first_only
def write():
    agreed()

def read():
    if hosts.is_first():
        return hosts.gather(1)
    return None if not hosts.is_first() else agreed()

def fine():
    if not hosts.is_first():
        return None
    return hosts.from_first(None if hosts.is_first() else 1)
"""


def test_the_measure_sees_calls_that_would_hang(tmp_path, monkeypatch):
    file = tmp_path / "made_up.py"
    file.write_text(HANGS)
    found = calls.hanging(calls.functions({"jaxft.made_up": file}))
    assert sorted(found) == [
        "jaxft.made_up.read calls jaxft.made_up.agreed",
        "jaxft.made_up.read calls jaxft.runtime.hosts.gather",
        "jaxft.made_up.write calls jaxft.made_up.agreed",
    ]


def test_no_collective_function_is_called_on_the_first_process_alone():
    functions = calls.functions(house.sources())
    assert "jaxft.run.train" in calls.collective(functions)
    assert calls.hanging(functions) == []


def test_the_wheel_packs_every_folder():
    packed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {file.parent.relative_to(ROOT) for file in FILES if file.parent.name != "configs"}
    assert packed == [*sorted(".".join(folder.parts) for folder in folders), "jaxft.configs"]


def test_the_quick_subset_checks_types_as_functions_are_called(request):
    if request.config.option.markexpr != "not slow":
        pytest.skip("the whole suite does not, so far")
    with pytest.raises(TypeCheckError):
        schedules.cycle_lengths("three", 1, 1)  # type: ignore[arg-type]  # which is the test
