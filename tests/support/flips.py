"""A bit flipped in every file that jaxft reads back, one at a time."""

import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import forks
from places import SUPPORT

SAME, TOLD, WRONG = "without effect", "told", "WRONG"
SIGNS = ("warning", "damaged", "changed since")
TRACES = ("Traceback", "this is a bug")
WRITTEN = re.compile("Written by jaxft .* UTC")  # at the foot of a page
NEVER_READ = (".lock", ".png", ".html", "commit_success.txt", "confusion.csv")


class Flip(NamedTuple):
    """A file whose bit was flipped, what read it, and what came of it."""

    file: str
    reader: str
    outcome: str
    code: int
    said: str


def flips(folder: Path, images: Path, bits: int, every: int, seed: int) -> Iterator[Flip]:
    """Flip so many bits of every file, or each so many-th, and let its readers meet each."""
    chance = random.Random(seed)
    whole, middle = folder / "whole", folder / "middle"
    make(whole, images)
    interrupt(whole, middle, images)
    for file, bit in places(middle / "run", bits, every, chance):
        if file.parent.name == "lr_find":  # of a phase that is over: only the page reads it
            continue
        yield train(middle, whole, file, bit, f"folder:{images}", "train goes on")
    answers = [answer(whole, words) for words in readers(whole, images)]
    for file, bit in places(whole / "run", bits, every, chance):
        for words, right in zip(readers(whole, images), answers, strict=True):
            yield read(whole, file, bit, words, right)
    for file, bit in places(whole / "cache", bits, every, chance):
        yield train(whole, whole, file, bit, f"folder:{images}", "train", anew=True)
    prepared = folder / "prepared"
    prepare(prepared, whole, images)
    for file, bit in places(prepared / "set", bits, every, chance):
        source = f"tfds_dir:{prepared / 'set'}"
        yield train(prepared, prepared, file, bit, source, "train on a prepared set", anew=True)


def make(place: Path, images: Path) -> None:
    """Run once to the end, with caches of its own."""
    place.mkdir()
    code, _, said = forks.run(words_of(f"folder:{images}", place / "run"), place, place / "cache")
    assert code == 0, said


def interrupt(whole: Path, middle: Path, images: Path) -> None:
    """Run with the same caches until the second checkpoint is whole, and kill the run there."""
    shutil.copytree(whole / "cache", middle / "cache")
    words = words_of(f"folder:{images}", middle / "run")
    start = forks.begin(words, middle, middle / "cache")
    while not (middle / "run" / "checkpoints" / "2").is_dir() and start.ended() is None:
        time.sleep(0.005)
    start.kill()


def prepare(place: Path, whole: Path, images: Path) -> None:
    """Prepare the images once, and run on them to the end."""
    place.mkdir()
    shutil.copytree(whole / "cache", place / "cache")
    words = ["prepare", f"--source=folder:{images}", f"--output={place / 'set'}"]
    code, _, said = forks.run(words, place, place / "cache")
    assert code == 0, said
    words = words_of(f"tfds_dir:{place / 'set'}", place / "run")
    code, _, said = forks.run(words, place, place / "cache")
    assert code == 0, said


def words_of(source: str, workdir: Path) -> list[str]:
    """Return the command line of a run."""
    config = f"--config={SUPPORT / 'short_config.py'}:."
    return ["train", config, f"--workdir={workdir}", f"--config.data.source={source}"]


def readers(place: Path, images: Path) -> list[list[str]]:
    """Return command lines that read a finished run; each writes `answer`, or prints."""
    run, image = place / "run", sorted(images.rglob("*.png"))[0]
    return [
        ["predict", f"--workdir={run}", f"--output={place / 'answer'}", str(image)],
        ["evaluate", f"--workdir={run}"],
        ["report", f"--workdir={run}", f"--output={place / 'answer'}"],
    ]


def answer(place: Path, words: list[str]) -> tuple[int, str, str]:
    """Run a reader; return its exit code, its answer and what it said on stderr."""
    (place / "answer").unlink(missing_ok=True)
    code, out, said = forks.run(words, place, place / "cache")
    file = place / "answer"
    found = WRITTEN.sub("", file.read_text()) if file.exists() else out
    return code, found, said


def places(folder: Path, bits: int, every: int, chance: random.Random) -> list[tuple[Path, int]]:
    """Return files that are read back, each with so many bits of it."""
    files = [
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.stat().st_size and not file.name.endswith(NEVER_READ)
    ]
    chosen = files[chance.randrange(every) :: every]
    return [(file, chance.randrange(8 * file.stat().st_size)) for file in chosen * bits]


def flip(file: Path, bit: int) -> None:
    """Flip a bit of a file in its place."""
    content = bytearray(file.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


def train(
    place: Path, whole: Path, file: Path, bit: int, source: str, reader: str, anew: bool = False
) -> Flip:
    """Flip a bit, train, and compare the end with that of a whole run; then put all back."""
    kept = place.with_name("kept")
    shutil.copytree(place, kept)
    if anew:
        shutil.rmtree(place / "run")
    name = str(file.relative_to(place))
    try:
        flip(file, bit)
        code, out, said = forks.run(words_of(source, place / "run"), place, place / "cache")
        alike = code == 0 and forks.same_end(place / "run", (kept if anew else whole) / "run")
        return Flip(name, reader, verdict(alike, code, out + said), code, (out + said)[-600:])
    finally:
        shutil.rmtree(place)
        kept.rename(place)


def read(place: Path, file: Path, bit: int, words: list[str], right: tuple[int, str, str]) -> Flip:
    """Flip a bit, let a reader answer, and compare the answer; then put the bit back."""
    flip(file, bit)
    code, found, said = answer(place, words)
    flip(file, bit)
    alike = code == 0 and found == right[1]
    outcome = verdict(alike, code, said, reads=True)
    return Flip(str(file.relative_to(place)), words[0], outcome, code, said[-600:])


def verdict(alike: bool, code: int, said: str, reads: bool = False) -> str:
    """Tell what became of a flip; a verb that only reads may answer otherwise if it says why."""
    if code not in (0, 2) or any(trace in said for trace in TRACES):
        return WRONG
    told = code == 2 or any(sign in said for sign in SIGNS)
    if told and (alike or reads or code == 2):
        return TOLD
    return SAME if alike else WRONG


def table(found: list[Flip]) -> str:
    """Return lines: outcomes by reader."""
    counts = Counter((flip.reader, flip.outcome) for flip in found)
    return "\n".join(f"  {n:4} x {reader}: {end}" for (reader, end), n in sorted(counts.items()))
