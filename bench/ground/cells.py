"""Cells: task x seed x setting, each one run of `jaxft train` and one JSON file, or an error."""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from queue import Queue
from typing import Any, NamedTuple

from ground.settings import BODY, FASTAI, HEAD, flags_of, part_of

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = ("jax", "jaxlib", "flax", "optax", "numpy", "pillow")
TAIL = 2000  # characters of what a failing run said last

Result = dict[str, Any]


class Cell(NamedTuple):
    """One run."""

    task: str
    seed: int
    setting: str

    @property
    def name(self) -> str:
        """For files: TASK.SEED.SETTING."""
        return f"{self.task}.{self.seed}.{self.setting}"


class Place(NamedTuple):
    """Folder that cells run in, and the commands that run them.

    Attributes:
      out: holds data, cache, runs, cells.
      flags: of every cell of jaxft: image size, model.
      command: the interpreter and the module, before `train`'s flags.
      image_size: pixels, of fastai's cells.
      peer: an interpreter that has fastai; "" for none.
      variant: of its cells; "" for the default image size and model.
    """

    out: Path
    flags: tuple[str, ...]
    variant: str = ""
    command: tuple[str, ...] = (sys.executable, "-m", "jaxft", "train")
    image_size: int = 0
    peer: str = ""

    @property
    def cells(self) -> Path:
        """Folder of the JSON files."""
        return self.out / f"cells{self.variant}"

    def file(self, cell: Cell) -> Path:
        """A cell's result."""
        return self.cells / f"{cell.name}.json"

    def error(self, cell: Cell) -> Path:
        """A failed cell's last words; no suffix .json, so that nobody takes them for a result."""
        return self.cells / f"{cell.name}.error"

    def workdir(self, cell: Cell) -> Path:
        """A cell's run, removed when its result is there; that of the setting `head` stays."""
        return self.out / f"runs{self.variant}" / cell.name


def missing(place: Place, cells: Iterable[Cell]) -> list[Cell]:
    """Those without a result, or weights that others begin with; failed ones are among them."""
    return [
        cell
        for cell in cells
        if not place.file(cell).is_file()
        or (cell.setting == HEAD and not place.workdir(cell).is_dir())
    ]


def stale(place: Place, cells: Iterable[Cell]) -> list[Cell]:
    """Those whose result was computed with other flags than the setting has now."""
    found = [cell for cell in cells if place.file(cell).is_file()]
    return [cell for cell in found if flags_then(place, cell) != flags_now(place, cell)]


def flags_then(place: Place, cell: Cell) -> list[str]:
    """Flags that a cell's result was computed with."""
    return json.loads(place.file(cell).read_text())["flags"]


def flags_now(place: Place, cell: Cell) -> list[str]:
    """Flags that a cell would be computed with."""
    if cell.setting == FASTAI:
        return [*flags_of(FASTAI), f"--image-size={place.image_size}"]
    return [*flags_of(cell.setting), *place.flags]


def run_all(place: Place, cells: Iterable[Cell], jobs: int) -> int:
    """Runs what is missing, so many at once, each on a core of its own; the failures' number.

    Raises:
      SystemExit: lists the cells that are stale.
    """
    cells = list(cells)
    begun_with = heads(cells)
    if old := stale(place, dict.fromkeys([*begun_with, *cells])):
        names = ", ".join(cell.name for cell in old)
        raise SystemExit(f"computed with other flags; remove them from {place.cells}: {names}")
    cores: Queue[int] = Queue()
    available = sorted(os.sched_getaffinity(0))
    for i in range(jobs):
        cores.put(available[i % len(available)])

    def one(cell: Cell) -> bool:
        core = cores.get()
        try:
            return run(place, cell, pin_to(core))
        finally:
            cores.put(core)

    with ThreadPoolExecutor(jobs) as pool:
        failed = sum(not fine for fine in pool.map(one, missing(place, begun_with)))
        others = [cell for cell in cells if cell not in begun_with]
        return failed + sum(not fine for fine in pool.map(one, missing(place, others)))


def heads(cells: Iterable[Cell]) -> list[Cell]:
    """The cells whose weights some cells of the body alone begin with, each once."""
    wanted = (cell._replace(setting=HEAD) for cell in cells if part_of(cell.setting) == BODY)
    return list(dict.fromkeys(wanted))


def pin_to(core: int) -> list[str]:
    """Words before a command that keep it on one core; none where an accelerator computes."""
    accelerated = any(list(Path("/dev").glob(name)) for name in ("nvidia[0-9]*", "accel[0-9]*"))
    return [] if accelerated else ["taskset", "-c", str(core)]


def run(place: Place, cell: Cell, before: Sequence[str] = ()) -> bool:
    """Runs a cell; tells in a line how it went, and returns if it came to its end.

    A run that was killed goes on from its checkpoint, as the command does; one that came to its end
    begins anew.
    """
    workdir = place.workdir(cell)
    if (workdir / "summary.json").is_file():
        shutil.rmtree(workdir)
    workdir.parent.mkdir(parents=True, exist_ok=True)
    place.cells.mkdir(parents=True, exist_ok=True)
    words = [*before, *command(place, cell)]
    log, started = workdir.with_name(f"{cell.name}.log"), time.perf_counter()
    with log.open("w") as file:
        process = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT)
        usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(usage[1])
    try:
        if process.returncode:
            raise RuntimeError(f"ended with {process.returncode}")
        found = read_fastai(log) if cell.setting == FASTAI else read(workdir)
        result = {**about(place, cell), **spent(seconds, usage[2]), **found}
    except Exception as problem:  # whatever it is, the other cells run
        place.error(cell).write_text(f"{problem!r}\n{log.read_text()[-TAIL:]}")
        print(f"{cell.name}: {problem}; see {place.error(cell)}", flush=True)
        return False
    write_json(place.file(cell), result)
    place.error(cell).unlink(missing_ok=True)
    if cell.setting != HEAD:  # whose weights those of the body alone begin with
        shutil.rmtree(workdir, ignore_errors=cell.setting == FASTAI)  # which has none
    log.unlink()
    print(f"{cell.name}: {result['accuracy']:.4f} in {seconds:.0f} s", flush=True)
    return True


def command(place: Place, cell: Cell) -> list[str]:
    """The command that runs a cell; jaxft's settings of a task share its cached features."""
    data = place.out / "data" / cell.task
    if cell.setting == FASTAI:
        return [
            place.peer, str(ROOT / "bench" / "folder.py"), *flags_now(place, cell),
            f"--data={data}", f"--seeds={cell.seed}",
        ]  # fmt: skip
    body = part_of(cell.setting) == BODY
    return [
        *place.command,
        *flags_now(place, cell),
        *([f"--config.init_from={place.workdir(cell._replace(setting=HEAD))}"] if body else []),
        f"--config.data.source=folder:{data}",
        f"--config.seed={cell.seed}", f"--config.cache_dir={place.out / 'cache'}",
        f"--workdir={place.workdir(cell)}",
    ]  # fmt: skip


def about(place: Place, cell: Cell) -> Result:
    """A cell by task, seed and setting, and what it was computed with."""
    return {
        **cell._asdict(),
        "flags": flags_now(place, cell),
        "revision": revision(),
        "python": sys.version.split()[0],
        "versions": {name: version(name) for name in DISTRIBUTIONS},
    }


def revision() -> str:
    """The commit that is checked out, "-dirty" behind it where files differ, or ""."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(words, capture_output=True, text=True).stdout.strip()


def spent(seconds: float, usage: "resource.struct_rusage") -> Result:
    """Seconds of the whole command, start-up and compilation included."""
    return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime}


def read(workdir: Path) -> Result:
    """Results that a finished run tells of itself.

    Raises:
      OSError, ValueError, KeyError: a file is not there, or not as expected.
    """
    summary = json.loads((workdir / "summary.json").read_text())
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    phases = json.loads((workdir / "config.json").read_text())["phases"]
    frozen = {phase["name"]: is_head(phase["groups"]) for phase in phases}
    head = [row for row in rows if frozen[row["phase"]]]
    full = [row for row in rows if not frozen[row["phase"]]]
    return {
        "data": json.loads((workdir / "data.json").read_text())["digest"],
        "accuracy": summary["accuracy"],
        "val_loss": summary["val_loss"],
        "head": best(head),
        "full": best(full),
        "baselines": summary["baselines"] or {},
        "head_last_trn_loss": head[-1]["trn_loss"] if head else None,
        "full_first_trn_loss": full[0]["first_trn_loss"] if full else None,
        "rates": {phase["name"]: phase["lr"] for phase in summary["phases"]},
        "rules": {phase["name"]: phase["lr_rule"] for phase in summary["phases"]},
        "by_rule": {file.stem: by_rule(file) for file in sorted(workdir.glob("lr_find/*.json"))},
        "epochs": {phase["name"]: phase["epochs"] for phase in summary["phases"]},
        "seconds_by_phase": {p["name"]: p["seconds"]["total"] for p in summary["phases"]},
        "rows": list(trimmed(rows)),
    }


def by_rule(file: Path) -> dict[str, float | None]:
    """The rate that each rule finds on a range test's curve."""
    return {rule: found["lr"] for rule, found in json.loads(file.read_text())["rules"].items()}


def read_fastai(log: Path) -> Result:
    """Results that fastai's side printed last; it has no phases.

    Raises:
      ValueError, IndexError: it printed none.
    """
    told = json.loads(log.read_text().splitlines()[-1])
    phases = ("head", "full", "head_last_trn_loss", "full_first_trn_loss")
    return {**told, **dict.fromkeys(phases)}


def is_head(groups: Mapping[str, float]) -> bool:
    """Tells if a phase trains the head alone."""
    return not any(rate for group, rate in groups.items() if group != "head")


def best(rows: Sequence[Result]) -> Result | None:
    """The highest accuracy of some epochs, and the lowest validation loss."""
    if not rows:
        return None
    return {
        "accuracy": max(row["accuracy"] for row in rows),
        "val_loss": min(row["val_loss"] for row in rows),
    }


def trimmed(rows: Iterable[Result]) -> Iterator[Result]:
    """Curves of a run: an epoch's losses and accuracies."""
    keys = ("phase", "epoch", "trn_loss", "first_trn_loss", "val_loss", "accuracy", "seconds")
    for row in rows:
        yield {key: row[key] for key in (*keys, "balanced_accuracy") if key in row}


def write_json(file: Path, data: Any) -> None:
    """Writes a file whole or not at all."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(data, indent=1) + "\n")
    part.replace(file)


def load(place: Place) -> list[Result]:
    """All results that are there."""
    return [json.loads(file.read_text()) for file in sorted(place.cells.glob("*.json"))]
