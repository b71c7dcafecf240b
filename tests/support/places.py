"""Folders of the project, for tests in whatever folder."""

from pathlib import Path

SUPPORT = Path(__file__).parent
GOLDEN = SUPPORT.with_name("golden")
ROOT = SUPPORT.parents[1]
BENCH = ROOT / "bench"
