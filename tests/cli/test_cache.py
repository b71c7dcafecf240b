"""`jaxft cache` tells, prunes what it is told to, and refuses flags that make no sense."""

import os
import time

import pytest

from jaxft.cli import main

DAYS = 86400.0


@pytest.fixture
def directory(tmp_path):
    """A cache of two entries, used 40 and 2 days ago."""
    (tmp_path / "features").mkdir()
    for letter, days in (("a", 40), ("b", 2)):
        file = tmp_path / "features" / f"{letter * 64}.000000000.npy"
        file.write_bytes(b"x" * 1000)
        os.utime(file, (time.time() - days * DAYS,) * 2)
    return tmp_path


def left(directory):
    return sorted(file.name[0] for file in (directory / "features").iterdir())


def told(capsys, directory, *flags):
    assert main.main(["cache", f"--cache-dir={directory}", *flags]) == 0
    return capsys.readouterr().out.splitlines()


def test_it_tells_and_removes_nothing(directory, capsys):
    lines = told(capsys, directory)
    assert lines[0] == str(directory)
    assert lines[3].split() == ["features", "2", "2", "KB", "2", "d", "to", "40", "d", "ago"]
    assert "prune" not in lines[-1] and left(directory) == ["a", "b"]


def test_it_prunes_by_age_and_by_size(directory, capsys):
    dry = told(capsys, directory, "--prune", "--older-than=30d", "--dry-run")
    assert dry[-1] == "to prune: 1 entry, 1 KB" and left(directory) == ["a", "b"]
    for age, count in (("72h", "1 entry"), ("12h", "2 entries"), ("5w", "1 entry")):
        dry = told(capsys, directory, "--prune", f"--older-than={age}", "--dry-run")
        assert dry[-1].startswith(f"to prune: {count}, ")
    assert told(capsys, directory, "--prune", "--older-than=30d")[-1] == "pruned: 1 entry, 1 KB"
    assert left(directory) == ["b"]
    told(capsys, directory, "--prune", "--max-size=1KB")
    assert left(directory) == ["b"]
    told(capsys, directory, "--prune", "--max-size=999B")
    assert left(directory) == []


def test_flags_that_make_no_sense_are_all_listed(directory, capsys):
    flags = ["--older-than=month", "--max-size=10", "--max-size=lots", "--dry-run"]
    assert main.main(["cache", f"--cache-dir={directory}", *flags]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[1:] == [
        "  - --older-than: 'month' is no age such as 12h or 30d",
        "  - --max-size: 'lots' is no size such as 500MB or 10GB",
        "  - --older-than, --max-size and --dry-run take --prune",
    ]
    assert main.main(["cache", f"--cache-dir={directory}", "--prune"]) == 2
    assert "--prune takes --older-than, --max-size or both" in capsys.readouterr().err
    assert main.main(["cache", f"--cache-dir={directory}", "--dry-run"]) == 2
    assert "--older-than, --max-size and --dry-run take --prune" in capsys.readouterr().err
    assert left(directory) == ["a", "b"]


def test_a_cache_that_is_not_there(tmp_path, capsys):
    assert main.main(["cache", f"--cache-dir={tmp_path / 'none'}"]) == 2
    assert "No run has used this cache yet" in capsys.readouterr().err
