"""Breaks runs of the tiny body on purpose, and compares what becomes of them.

    python tests/chaos.py --kills=50 [--signal=TERM] [--seed=0]
    python tests/chaos.py --places=1 [--seed=0]
    python tests/chaos.py --flips=1 [--every=1] [--seed=0]

`--kills` kills one run at random moments (support/kills.py). `--places` lets every so
many-th write, fsync, rename and creation of a file fail once, in turn by a full disk, an error and
a kill (support/failing_disk.py; needs a C compiler).
`--flips` flips so many bits of every file that jaxft reads back, or of each so many-th, one at a
time (support/flips.py).
Each compares parameters, rows, summary and predictions with those of a run left alone, prints what
it found, and ends with 1 if anything differs. docs/reliability.md has the figures.
"""

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))

import drawn_images
import failing_disk
import flips
import forks
import kills

MOST = 600  # characters of what a start said last


def main() -> int:
    """Read the flags; break what they name; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=0, help="how many")
    parser.add_argument("--signal", default="KILL", choices=["KILL", "TERM", "INT"])
    parser.add_argument("--places", type=int, default=0, help="every how many-th operation")
    parser.add_argument("--flips", type=int, default=0, help="bits of every file")
    parser.add_argument("--every", type=int, default=1, help="file, of those with flipped bits")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keeps what was written (default: nothing)")
    options = parser.parse_args()
    if options.places > 0:
        failing_disk.begin_again_with_it(Path(tempfile.mkdtemp()))
    forks.prepare()
    with tempfile.TemporaryDirectory() as aside:
        folder = options.folder or Path(aside)
        images = folder / "images"
        drawn_images.draw_folder(images)
        if options.kills > 0:
            return tell_kills(folder, options, images)
        if options.places > 0:
            return tell_places(folder, options, images)
        if options.flips > 0:
            return tell_flips(folder, options, images)
    parser.error("give --kills, --places or --flips")


def tell_kills(folder: Path, options: argparse.Namespace, images: Path) -> int:
    """Kill, and print how that ended."""
    started, number = time.monotonic(), signal.Signals[f"SIG{options.signal}"]
    found = kills.kills(folder, options.kills, options.seed, number, images)
    seconds = time.monotonic() - started
    runs = "1 run" if found.runs == 1 else f"{found.runs} runs"
    print(f"{sum(found.met.values())} x {number.name} in {runs}, {seconds:.0f} s")
    for place, times in found.met.most_common():
        print(f"  {times:3} while {place}")
    if number != signal.SIGKILL:
        print(f"steps repeated: {found.repeated}")
    print("every end is the same as that of a run left alone, to the bit")
    return 0


def tell_places(folder: Path, options: argparse.Namespace, images: Path) -> int:
    """Let operations on the disk fail, and print how that ended."""
    started, total = time.monotonic(), failing_disk.count(folder, images)
    numbers = range(1 + options.seed % options.places, total + 1, options.places)
    places = failing_disk.fail(folder, images, numbers, options.seed)
    seconds = time.monotonic() - started
    print(f"{total} operations on the disk, {len(places)} of them failed, {seconds:.0f} s")
    print(failing_disk.table(places))
    if faults := [place for place in places if place.problems]:
        for place in faults:
            print(f"operation {place.number}, {place.kind}: {place.operation}")
            print("\n".join(f"    {problem[-MOST:]}" for problem in place.problems))
        return 1
    print("every end is the same as that of a run left alone, to the bit")
    return 0


def tell_flips(folder: Path, options: argparse.Namespace, images: Path) -> int:
    """Flip bits, and print how that ended."""
    started, found = time.monotonic(), []
    for flip in flips.flips(folder, images, options.flips, options.every, options.seed):
        found.append(flip)
        if flip.outcome == flips.WRONG:
            told = f"{flip.reader} ends with {flip.code}: {flip.said}"
            print(f"a bit of {flip.file}: {told}", flush=True)
    seconds = time.monotonic() - started
    print(f"{len(found)} bits flipped, {seconds:.0f} s")
    print(flips.table(found))
    return int(any(flip.outcome == flips.WRONG for flip in found))


if __name__ == "__main__":
    sys.exit(main())
