"""Two sides, each a process of its own that computes only when asked, timed in turn: A B A B."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

Passes = dict[str, Callable[[], None]]


def serve(about: Mapping[str, object], passes: Passes) -> None:
    """A worker: for each line `PASS REPEATS` on stdin, times that pass and prints the seconds."""
    print(json.dumps({**about, "passes": list(passes)}), flush=True)
    for line in sys.stdin:
        name, repeats = line.split()
        seconds = []
        for _ in range(int(repeats)):
            start = time.perf_counter()
            passes[name]()
            seconds.append(time.perf_counter() - start)
        print(json.dumps(seconds), flush=True)


class Side:
    """One side's process, and the seconds that it took for each of its passes.

    Args:
      python: the interpreter.
      file: the benchmark, which serves when it is given `--worker=NAME`.
      name: of the side.
      flags: handed on as `--flag=value`.
      env: of its environment, what differs from this process's.
    """

    def __init__(
        self,
        python: str,
        file: str,
        name: str,
        flags: Mapping[str, object],
        env: Mapping[str, str] | None = None,
    ) -> None:
        command = [python, file, f"--worker={name}", *(f"--{k}={v}" for k, v in flags.items())]
        root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, **(env or {})},
        )
        self.about = self._answer()
        self.seconds: dict[str, list[float]] = {name: [] for name in self.about.pop("passes")}

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the worker died: {' '.join(self.process.args)}")
        return json.loads(line)

    def time(self, prefix: str, repeats: int) -> None:
        """Times every pass whose name begins so."""
        for name in self.seconds:
            if name.startswith(prefix):
                self.process.stdin.write(f"{name} {repeats}\n")
                self.process.stdin.flush()
                self.seconds[name] += self._answer()

    def median(self, name: str) -> float:
        """Median seconds of a pass."""
        return statistics.median(self.seconds[name])

    def fastest(self, prefix: str) -> str:
        """The pass with the least median of those whose names begin so."""
        return min((n for n in self.seconds if n.startswith(prefix)), key=self.median)

    def table(self) -> dict[str, dict[str, float]]:
        """Median and quartiles of every pass that was timed, in milliseconds."""
        rows = {}
        for name, seconds in self.seconds.items():
            if len(seconds) > 1:
                low, middle, high = (1e3 * q for q in statistics.quantiles(seconds, n=4))
                rows[name] = {"median_ms": middle, "quartile1_ms": low, "quartile3_ms": high}
            elif seconds:
                rows[name] = {"median_ms": 1e3 * seconds[0]}
        return {n: {k: round(v, 2) for k, v in row.items()} for n, row in rows.items()}

    def close(self) -> None:
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()


def add_flags(parser: argparse.ArgumentParser, sides: Mapping[str, object]) -> None:
    """The flags that every side-by-side benchmark has."""
    parser.add_argument("--peer-python", help="an interpreter that has torch")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--worker", choices=sorted(sides), help=argparse.SUPPRESS)


def limit_threads(threads: int) -> None:
    """Run on the first `threads` cores; JAX takes its thread count from them."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
