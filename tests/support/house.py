"""Figures of the house: how large its rooms are, and who leans on whom.

    python tests/support/house.py

`make house` prints them with what exceeds its bound; tests/project/test_layout.py holds the bounds.
The lines of a file are all its lines. Those of a function leave out its docstring and count what
is nested in it.
"""

import ast
import statistics
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from places import ROOT

# Folders from the ground up: each may import from itself and from those before it.
FLOORS = (
    *("errors", "runtime", "devices", "recipe", "models", "data", "augment", "config", "workdir"),
    *("features", "materials", "evaluation", "report", "export", "training", "run", "costs", "cli"),
)
QUESTIONS = ("what", "whether", "how", "where", "which", "why", "when", "who")
MOST = {
    "files at the top": 4,
    "folders at the top": 17,
    "longest chain of imports": 12,
    "arrows up": 0,
    "lines of run.py": 200,
    "lines of the longest file": 350,
    "median lines of a file": 80,
    "lines of the longest function": 50,
    "parameters of a function": 8,
    "docstrings that begin with a question, %": 1,
}


class Function(NamedTuple):
    """A function, by its place, its lines without the docstring, and its parameters."""

    place: str
    lines: int
    parameters: int


def sources() -> dict[str, Path]:
    """Module name -> file, of the package less its cards."""
    found = {}
    for file in sorted(ROOT.glob("jaxft/**/*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        if "configs" not in parts:
            found[".".join(part for part in parts if part != "__init__")] = file
    return found


@cache
def parsed(file: Path) -> ast.Module:
    """The syntax of a file."""
    return ast.parse(file.read_text())


def arrows(modules: dict[str, Path]) -> dict[str, set[str]]:
    """Module -> the modules that it imports, also inside functions."""
    found: dict[str, set[str]] = {}
    for name, file in modules.items():
        found[name] = set()
        for node in ast.walk(parsed(file)):
            if isinstance(node, ast.Import):
                found[name] |= {alias.name for alias in node.names} & modules.keys()
            elif isinstance(node, ast.ImportFrom) and node.module in modules:
                whole = [f"{node.module}.{alias.name}" for alias in node.names]
                found[name] |= {one if one in modules else node.module for one in whole}
        found[name].discard(name)
    return found


def floor(module: str) -> int:
    """The number of a module's floor; the package itself and its door are on the last."""
    room = [*module.split("."), ""][1]
    return FLOORS.index(room) if room in FLOORS else len(FLOORS)


def upward(graph: dict[str, set[str]]) -> list[str]:
    """Imports from a lower floor of a higher one; `jaxft` itself loads its names on first use."""
    return [
        f"{module} imports {other}"
        for module, others in graph.items()
        for other in sorted(others)
        if floor(other) > floor(module) and module != "jaxft"
    ]


def longest(graph: dict[str, set[str]]) -> list[str]:
    """The longest chain of imports, from the top.

    Raises:
      ValueError: the imports go round in a circle.
    """
    chains: dict[str, list[str]] = {}
    under_way: set[str] = set()

    def chain(module: str) -> list[str]:
        if module in under_way:
            raise ValueError(f"{module} imports itself by way of others")
        if module not in chains:
            under_way.add(module)
            chains[module] = [module, *max(map(chain, graph[module]), key=len, default=[])]
            under_way.remove(module)
        return chains[module]

    return max(map(chain, graph), key=len)


def functions(file: Path) -> Iterator[Function]:
    """Every function and method of a file."""
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = node.body[0].lineno - node.lineno
            last = node.body[-1]
            lines += (last.end_lineno or last.lineno) - body[0].lineno + 1 if body else 0
            given = node.args
            count = sum(map(len, (given.posonlyargs, given.args, given.kwonlyargs)))
            names = [argument.arg for argument in given.args[:1]]
            count -= names in (["self"], ["cls"])
            place = f"{file.relative_to(ROOT)}:{node.lineno} {node.name}"
            yield Function(place, lines, count)


def docstrings(file: Path) -> Iterator[tuple[str, str]]:
    """(place, docstring) of a file, its classes and its functions."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(parsed(file)):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield f"{file.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}", text


def asks(docstring: str) -> bool:
    """Tell whether a docstring begins with a question word."""
    return docstring.split()[0].lower().strip(",.:") in QUESTIONS


def lines(file: Path) -> int:
    """All lines of a file."""
    return len(file.read_text().splitlines())


def measured() -> dict[str, tuple[float, list[str]]]:
    """Figure -> (its value, the places that exceed its bound or come closest to it)."""
    modules = sources()
    graph, files = arrows(modules), list(modules.values())
    top = [file.name for file in sorted((ROOT / "jaxft").glob("*.py"))]
    rooms = [file.parent.name for file in sorted((ROOT / "jaxft").glob("*/__init__.py"))]
    chain, up = longest(graph), upward(graph)
    size = {str(file.relative_to(ROOT)): lines(file) for file in files}
    every = [function for file in files for function in functions(file)]
    told = [found for file in files for found in docstrings(file)]
    asking = [place for place, text in told if asks(text)]

    def above(values: dict[str, Any], name: str) -> tuple[float, list[str]]:
        worst = sorted(values, key=values.__getitem__, reverse=True)
        over = [f"{place}: {values[place]}" for place in worst if values[place] > MOST[name]]
        return max(values.values()), over

    return {
        "files at the top": (len(top), top),
        "folders at the top": (len({*rooms, "configs"}), sorted({*rooms, "configs"})),
        "longest chain of imports": (len(chain), chain),
        "arrows up": (len(up), up),
        "lines of run.py": (size["jaxft/run.py"], []),
        "lines of the longest file": above(size, "lines of the longest file"),
        "median lines of a file": (statistics.median(n for n in size.values() if n), []),
        "lines of the longest function": above(
            {f.place: f.lines for f in every}, "lines of the longest function"
        ),
        "parameters of a function": above(
            {f.place: f.parameters for f in every}, "parameters of a function"
        ),
        "docstrings that begin with a question, %": (100 * len(asking) / len(told), asking),
    }


def main() -> int:
    """Prints the figures; 1 where one exceeds its bound."""
    failed = 0
    for name, (value, places) in measured().items():
        over = value > MOST[name]
        failed |= over
        print(f"{name}: {value:g} (at most {MOST[name]})")
        if over:
            print(*(f"    {place}" for place in places), sep="\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
