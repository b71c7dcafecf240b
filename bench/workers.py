"""Threads or processes: batches a second from JPEG files, decoded on the host.

    python bench/workers.py --threads=1,2 --workers=1,2

Images are those of input_pipeline.py, 500 x 375 JPEGs, and are decoded, resized and cropped to the
canvas as in training, none of them kept in memory. Every way reads the same batches, in turn,
`--rounds` times (A B A B), so that a machine whose speed varies treats all alike. Its clock starts
after the first batches, so that the start of processes does not count; that is told by itself.
Prints one JSON line.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from input_pipeline import draw
from jaxft.data.batches import Readers, Stretch, train_batches
from jaxft.data.images.memory import Images
from jaxft.data.images.sizing import Sizing, canvas_size
from jaxft.data.slots import Slots
from jaxft.data.sources.registry import open_dataset
from jaxft.devices import provenance
from jaxft.runtime.process import cores

FIRST = 6  # batches before the clock starts: more than are read ahead


def images_a_second(
    images: Images, steps: int, batch_size: int, readers: Readers
) -> tuple[float, float]:
    """-> (images a second, seconds until the first batch)."""
    started = time.perf_counter()
    with train_batches(
        images,
        images.split.labels,
        slots=Slots(batch_size),
        canvas=images.shorter_side,
        stretch=Stretch(0, 0, FIRST + steps),
        readers=readers,
    ) as feed:
        next(feed)
        first = time.perf_counter() - started
        for _ in range(FIRST - 1):
            next(feed)
        started = time.perf_counter()
        for _ in range(steps):
            next(feed)
        return steps * batch_size / (time.perf_counter() - started), first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    numbers = lambda text: [int(word) for word in text.split(",")]  # noqa: E731
    parser.add_argument("--threads", type=numbers, default=[cores()])
    parser.add_argument("--workers", type=numbers, default=[cores()])
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ways = {f"threads={n}": Readers(threads=n) for n in options.threads}
    ways |= {f"workers={n}": Readers(workers=n) for n in options.workers}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    starts: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "files")
        draw(files, options.images)
        split = open_dataset(f"folder:{files}", valid_fraction=0.01).train
        images = Images(split, Sizing(canvas_size(options.image_size)))
        for _ in range(options.rounds):
            for name, readers in ways.items():
                rate, first = images_a_second(images, options.steps, options.batch_size, readers)
                rates[name].append(rate)
                starts[name].append(first)
    told = {
        name: {
            "images_per_second": round(statistics.median(rates[name])),
            "spread": [round(min(rates[name])), round(max(rates[name]))],
            "first_batch_seconds": round(statistics.median(starts[name]), 2),
        }
        for name in ways
    }
    about = {
        key: value for key, value in vars(options).items() if key not in ("threads", "workers")
    }
    line = {**told, **about, "cores": cores(), **provenance.versions()}
    print(json.dumps({**line, "revision": provenance.revision()}))


if __name__ == "__main__":
    main()
