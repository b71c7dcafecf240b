"""Who may import what: frameworks stay in their rooms."""

import ast
from pathlib import Path

import house
import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted([*ROOT.glob("jaxft/**/*.py"), *ROOT.glob("configs/*.py")])
NAMES = [file.relative_to(ROOT).as_posix() for file in FILES]
ROOMS = {
    "flax": ("jaxft/models/",),
    "absl": ("jaxft/config/load.py", "configs/", "jaxft/data/feed.py"),
    "ml_collections": (
        "jaxft/cli/config_file.py",
        "jaxft/cli/overrides.py",
        "jaxft/config/load.py",
        "configs/",
    ),
    "grain": ("jaxft/data/feed.py",),
    "orbax": ("jaxft/workdir/checkpoint.py",),
    "tensorflow_datasets": (
        "jaxft/data/sources/tfds.py",
        "jaxft/data/prepare/description.py",
        "jaxft/data/sources/fields.py",
        "jaxft/data/prepare/shard.py",
    ),
    "array_record": ("jaxft/data/sources/tfds.py", "jaxft/data/prepare/shard.py"),
    "torch": (),
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


def test_the_figures_of_the_house():
    """What `make house` prints stays within its bounds."""
    assert house.main() == 0
