"""A cache's entries are told by part, and pruned by age and size; nothing else is touched."""

import os
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from jaxft.data.images import seen
from jaxft.errors import UserError
from jaxft.features import cache
from jaxft.materials import stored

DAY = 86400.0
KEYS = ("a" * 64, "b" * 64)
PROGRAM = f"jit_step-{'c' * 64}"


def put(file, size, days):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x" * size)
    os.utime(file, (time.time() - days * DAY,) * 2)


@pytest.fixture
def directory(tmp_path):
    """Two entries of features, one in two parts, a program, the list of images, and more."""
    for first, days in ((0, 40), (4096, 20)):
        put(tmp_path / "features" / f"{KEYS[0]}.{first:09}.npy", 300, days)
    put(tmp_path / "features" / f"{KEYS[1]}.000000000.npy", 1000, 50)
    put(tmp_path / "xla" / f"{PROGRAM}-cache", 50, 10)
    put(tmp_path / "xla" / f"{PROGRAM}-atime", 8, 5)
    put(tmp_path / seen.FILE, 70, 1)
    put(tmp_path / "features" / ".jaxft-abcdefgh.tmp", 20, 2)
    put(tmp_path / "features" / ".jaxft-younger_.tmp", 20, 0.5)
    put(tmp_path / "features" / "mine.npy", 10_000, 400)
    return tmp_path


def told(found):
    return [(entry.part, len(entry.files), entry.size) for entry in found]


OLDEST = ("other files", 1, 10_000)
FEATURES = [("features", 1, 1000), ("features", 2, 600)]
REST = [("programs", 2, 58), ("unfinished files", 1, 20), ("images seen whole", 1, 70)]


def test_entries_are_whole_and_the_least_recently_used_come_first(directory):
    found = stored.entries(directory)
    assert told(found) == [OLDEST, *FEATURES, *REST, ("unfinished files", 1, 20)]


@pytest.mark.parametrize(
    "older_than, max_size, pruned",
    [
        (None, None, []),
        (30 * DAY, None, FEATURES[:1]),
        (15 * DAY, None, FEATURES),
        (0.0, None, [*FEATURES, *REST]),
        (None, 1748, []),
        (None, 1747, FEATURES[:1]),
        (None, 148, FEATURES),
        (None, 0, [*FEATURES, *REST]),
        (30 * DAY, 748, FEATURES[:1]),
        (30 * DAY, 747, FEATURES),
    ],
)
def test_what_is_pruned(directory, older_than, max_size, pruned):
    found = stored.entries(directory)
    chosen = stored.doomed(found, older_than, max_size)
    assert told(chosen) == pruned
    stored.remove(chosen)
    assert stored.entries(directory) == [entry for entry in found if entry not in chosen]


def test_what_was_read_lately_is_not_old(directory):
    file = directory / "features" / f"{KEYS[1]}.000000000.npy"
    os.utime(file, (time.time() - DAY, time.time() - 50 * DAY))
    assert told(stored.doomed(stored.entries(directory), 30 * DAY)) == []


def test_links_are_neither_followed_nor_removed(directory, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    put(elsewhere / f"{KEYS[0]}.000000000.npy", 5, 99)
    (directory / "features" / "linked").symlink_to(elsewhere)
    link = directory / "features" / f"{KEYS[0]}.000008192.npy"
    link.symlink_to(elsewhere / f"{KEYS[0]}.000000000.npy")
    stored.remove(stored.doomed(stored.entries(directory), 0.0))
    assert link.is_symlink() and len(list(elsewhere.iterdir())) == 1


def test_all_that_cannot_be_removed_is_listed(directory, monkeypatch):
    def forbidden(self, missing_ok):
        raise PermissionError(13, "Permission denied")

    chosen = stored.doomed(stored.entries(directory), 15 * DAY)
    monkeypatch.setattr("pathlib.Path.unlink", forbidden)
    with pytest.raises(UserError) as error:
        stored.remove(chosen)
    assert len(error.value.offenders) == 3
    assert all(line.endswith(": permission denied") for line in error.value.offenders)


def test_the_table_has_a_line_for_each_part(directory):
    lines = stored.text(directory, stored.entries(directory)).splitlines()
    assert lines[0] == str(directory)
    assert [line.split("  ")[0] for line in lines[3:]] == [
        "features",
        "programs",
        "images seen whole",
        "unfinished files",
        "other files",
        "in all",
    ]
    assert lines[3].split() == ["features", "2", "1.6", "KB", "20", "d", "to", "50", "d", "ago"]
    assert lines[-1].split() == ["in", "all", "7", "11.8", "KB"]


# What a run in progress makes of files that vanish; of those that it has mapped see
# tests/features/test_features.py.


def test_names_are_those_that_the_cache_gives(tmp_path):
    """The patterns of `stored` are of files that are written elsewhere."""
    part = np.ones((2, 3), np.float32)
    cache.cached(tmp_path / "features", "d" * 64, 2, lambda _: iter([part]))
    seen.remember(tmp_path, ["e" * 32])
    assert {entry.part for entry in stored.entries(tmp_path)} == {"features", "images seen whole"}
    stored.remove(stored.doomed(stored.entries(tmp_path), max_size=0))
    assert stored.entries(tmp_path) == []
    (again,), found = cache.cached(tmp_path / "features", "d" * 64, 2, lambda _: iter([part]))
    assert found == 0 and (again == part).all()
    assert seen.recall(tmp_path) == set()


@pytest.fixture
def programs(tmp_path):
    """A cache of compiled programs for this test alone."""
    wanted = {
        "jax_compilation_cache_dir": str(tmp_path / "xla"),
        "jax_enable_compilation_cache": True,  # `jaxft bench` in this process turns it off
    }
    before = {name: jax.config.values[name] for name in wanted}
    for name, value in wanted.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield tmp_path
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def test_a_program_that_vanished_is_compiled_again(programs):
    def compiled():
        return float(jax.jit(lambda x: jnp.sin(x) * 3)(1.0))

    first = compiled()
    found = stored.entries(programs)
    assert {entry.part for entry in found} == {"programs"}
    stored.remove(found)
    assert compiled() == first
    assert len(stored.entries(programs)) == len(found)
