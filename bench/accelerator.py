"""Everything that jaxft wants to know of an accelerator, piece by piece, beside PyTorch.

    python bench/accelerator.py --out=lines.jsonl --budget=540 [--pieces=a,b] [--done=FILE]
        [--peer-python=PATH] [--conv=packed:32] [--table=FILE] [--tiny]

Each piece runs in child processes of its own, one at a time, the PyTorch sides in `--peer-python`
(this interpreter, if it has torch). A child that crashes, hangs (it is killed at its limit) or
cannot do a convolution costs one line with `error`; the other pieces run. What no longer fits into
the budget (seconds) is skipped, and a line says so. Lines are JSON; they are printed and appended
to `--out` as they come. Parts that came to their end without an error in `--done` (the same file,
or that of a call before) are not run again. `--table` renders a file of lines for people.

Pieces: see `--list`. `--tiny` runs all of them on a CPU with a cut network, to see that they run.

A line has `piece`, `side` and `what`; a time is `ms` a call: median and quartiles of `n` rounds of
`calls`, dispatched back to back, after a warm-up, over random inputs that do not fit into the L2
cache. `gb` and `gflop` are counted as the program is written (of convolutions alone, in a network),
`share_of_copy` and `share_of_matmul` compare with what the device did in the piece `ceilings`.
"""

import argparse
import ctypes
import importlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pieces import child, flags, lines
from pieces import setting as settings
from pieces.catalogue import PIECES, Part, part
from pieces.child import Place
from pieces.gauge import Gauge, tell
from pieces.lines import Line
from pieces.report import Report
from pieces.setting import Setting

PR_SET_PDEATHSIG = 1  # of Linux' prctl


class Desk:
    """Takes the lines of all parts: adds what the parent knows, prints, appends."""

    def __init__(self, out: str, known: list[Line], gauge: Gauge) -> None:
        self._out = Path(out) if out else None
        if self._out:
            self._out.absolute().parent.mkdir(parents=True, exist_ok=True)
        self._gauge, self._before = gauge, gauge.now
        self._known = [line for line in known if line["piece"] == "ceilings"]
        self._about = {"revision": revision(), "driver": tell("driver_version")}
        self.failed = 0
        self._lock = threading.Lock()

    def put(self, piece: str, one: Part, line: Line) -> None:
        """Writes a line of a part."""
        with self._lock:
            self._put(piece, one, line)

    def _put(self, piece: str, one: Part, line: Line) -> None:
        full: Line = {"piece": piece, "side": one.side, **line}
        full |= {key: value for key, value in self._about.items() if value is not None}
        if self._gauge.now is not None:
            full["clocks"] = {"before": self._before, "after": self._gauge.now}
            self._before = self._gauge.now
        if piece == "ceilings":
            self._known.append(full)
        shared = lines.with_shares(full, lines.ceilings(self._known))
        text = json.dumps(shared, allow_nan=False)
        self.failed += "error" in full
        print(text, flush=True)
        if self._out:
            with self._out.open("a") as file:
                print(text, file=file)


def run_all(options: argparse.Namespace, setting: Setting, desk: Desk) -> None:
    """The chosen parts that are not done yet, one after the other, while the budget lasts.

    Tiny, two at a time, the long ones first: nothing is worth timing there.
    """
    deadline = time.monotonic() + options.budget
    parts = list(chosen(options))
    waiting = iter(sorted(parts, key=lambda part: -part[1].limit) if setting.tiny else parts)

    def work_off() -> None:
        for piece, one in waiting:
            run_in_time(piece, one, options.peer_python, setting, deadline, desk)

    others = [threading.Thread(target=work_off, daemon=True)] if setting.tiny else []
    for other in others:
        other.start()
    work_off()
    for other in others:
        other.join()


def run_in_time(
    piece: str, one: Part, peer_python: str, setting: Setting, deadline: float, desk: Desk
) -> None:
    """One part, unless it needs more than the seconds that are left."""
    left = deadline - time.monotonic()
    needs = 1.0 if setting.tiny else one.needs
    if left < needs:
        text = f"needs {needs:.0f} s, {max(left, 0):.0f} are left of the budget"
        desk.put(piece, one, {"what": "skipped", "skipped": text})
        return
    python = peer_python if one.torch else sys.executable
    log = Path(setting.folder, "logs", f"{piece}.{one.side}.txt")
    log.parent.mkdir(parents=True, exist_ok=True)
    run_one(Place(piece, one, python, log), setting, min(one.limit, left), desk)


def run_one(place: Place, setting: Setting, seconds: float, desk: Desk) -> None:
    """One part, and the line that ends it."""
    started, errors, told = time.monotonic(), 0, 0
    env = child.environment(place, setting)

    def put(line: Line) -> None:
        nonlocal errors, told
        told += 1
        errors += "error" in line
        desk.put(place.piece, place.part, {"xla_flags": env["XLA_FLAGS"], **line})

    problem = child.run(place, setting, env, seconds, put)
    child.keep_autotune(place, setting, bool(problem))
    if not told and not problem:
        problem = f"ended without a line: {child.tail(place.log)}"
    if problem:
        put({"what": "child", "error": problem})
    seconds = round(time.monotonic() - started, 1)
    put({"what": lines.DONE, "errors": errors, "seconds": seconds})


def chosen(options: argparse.Namespace) -> Iterator[tuple[str, Part]]:
    """The parts of the pieces that are asked for, that are not done yet.

    Parts that differ in flags for GPUs alone are left out where there is none.
    """
    done = lines.done(lines.read(options.done))
    for piece in options.pieces:
        for one in PIECES[piece]:
            on_cpu_the_same = options.tiny and one.flags
            if (piece, one.side) not in done and not on_cpu_the_same:
                yield piece, one


def work(name: str, text: str) -> None:
    """A child: runs its part, and ends with its parent."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    setting = settings.load(text)
    if name == flags.SERVER:
        flags.serve(setting)
        return
    report = Report(_writer())
    module, function = part(*name.split("/")).work.split(":")
    getattr(importlib.import_module(f"pieces.{module}"), function)(setting, report)


def _writer() -> Callable[[str], None]:
    stream = child.private_stdout()
    return lambda text: print(text, file=stream, flush=True)


def revision() -> str | None:
    """Of the working tree that this file is in."""
    command = ["git", "-C", str(child.ROOT), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip() or None
    except FileNotFoundError:
        return None


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pieces", default=",".join(PIECES), help="separated by commas")
    parser.add_argument("--list", action="store_true", help="name all pieces and their limits")
    parser.add_argument("--budget", type=float, default=540, help="seconds of this call")
    parser.add_argument("--out", default="", metavar="FILE", help="to append lines to")
    parser.add_argument("--done", default="", metavar="FILE", help="lines of an earlier call")
    parser.add_argument("--table", metavar="FILE", help="of lines, to print as tables")
    parser.add_argument("--peer-python", default=sys.executable, help="an interpreter with torch")
    parser.add_argument("--conv", default="packed:32", help="lowerings that `ideas` should try")
    parser.add_argument("--batch-size", type=int, default=256, help="of the network's steps")
    parser.add_argument("--folder", default="", help="for caches and logs (beside --out)")
    parser.add_argument("--tiny", action="store_true", help="on CPU, to see that all of it runs")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--setting", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.pieces = list(filter(None, options.pieces.split(",")))
    unknown = [piece for piece in options.pieces if piece not in PIECES]
    if unknown:
        parser.error(f"no pieces {', '.join(unknown)}; there are {', '.join(PIECES)}")
    return options


def main() -> None:
    """Reads the flags; measures, lists, renders, or works as a child."""
    options = read_options()
    if options.worker:
        work(options.worker, options.setting)
    elif options.table is not None:
        from pieces import table

        print(table.render(lines.read(options.table)))
    elif options.list:
        for piece, parts in PIECES.items():
            print(piece, *(f"{one.side} ({one.limit:.0f} s)" for one in parts))
    else:
        measure(options)


def measure(options: argparse.Namespace) -> None:
    """Runs the pieces; ends with 1 where a line has an error."""
    beside = Path(options.out).absolute().parent if options.out else Path.cwd()
    folder = options.folder or str(beside / "accelerator_files")
    setting = Setting(options.tiny, folder, options.conv, options.peer_python, options.batch_size)
    gauge = Gauge()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        desk = Desk(options.out, lines.read(options.out, options.done), gauge)
        run_all(options, setting, desk)
    finally:
        gauge.close()
    sys.exit(1 if desk.failed else 0)


if __name__ == "__main__":
    main()
