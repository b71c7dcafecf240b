"""Calls between the functions of the package, as far as names tell: who calls whom, and where."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import house

# Every process has to call these, or those that do wait for the others without an end.
COLLECTIVE = frozenset(
    f"jaxft.runtime.hosts.{name}"
    for name in ("gather", "gather_batches", "from_first", "together", "demand_same", "agreed")
)


class Function(NamedTuple):
    """A function by its whole name: what it calls, and what it calls on the first process alone."""

    calls: frozenset[str]
    calls_first_only: frozenset[str]


def names_of(module: str, tree: ast.Module) -> dict[str, str]:
    """Local name -> whole name, of what a module imports or defines."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    defined = ast.FunctionDef | ast.ClassDef
    found |= {node.name: f"{module}.{node.name}" for node in tree.body if isinstance(node, defined)}
    return found


def called(node: ast.AST, names: Mapping[str, str], within: str) -> Iterator[str]:
    """Whole names of everything called below a node; `self.x` belongs to the class within."""
    for one in ast.walk(node):
        if not isinstance(one, ast.Call):
            continue
        function = one.func
        if isinstance(function, ast.Name):
            yield names.get(function.id, function.id)
        elif isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            owner = function.value.id
            yield f"{within if owner == 'self' else names.get(owner, owner)}.{function.attr}"


def first_only(node: ast.AST, names: Mapping[str, str]) -> Iterator[ast.AST]:
    """The parts of a function that run on the first process alone."""
    if isinstance(node, ast.FunctionDef):
        for decorator in node.decorator_list:
            if "first_only" in ast.unparse(decorator):
                yield node
    for one in ast.walk(node):
        if isinstance(one, ast.If | ast.IfExp) and "is_first()" in ast.unparse(one.test):
            others = "not hosts.is_first()" in ast.unparse(one.test)
            branches = one.orelse if others else one.body
            yield from branches if isinstance(branches, list) else [branches]


def functions(modules: Mapping[str, Path]) -> dict[str, Function]:
    """Every function and method of the package."""
    found = {}
    for module, file in modules.items():
        tree = house.parsed(file)
        names = names_of(module, tree)
        places = [(module, node) for node in tree.body]
        places += [
            (f"{module}.{node.name}", method)
            for node in tree.body
            if isinstance(node, ast.ClassDef)
            for method in node.body
        ]
        for place, node in places:
            if isinstance(node, ast.FunctionDef):
                alone = [c for part in first_only(node, names) for c in called(part, names, place)]
                every = frozenset(called(node, names, place))
                found[f"{place}.{node.name}"] = Function(every, frozenset(alone))
    return found


def collective(functions: Mapping[str, Function]) -> set[str]:
    """The functions that call a collective one, themselves or by way of others."""
    found = set(COLLECTIVE)
    while more := {name for name, one in functions.items() if one.calls & found} - found:
        found |= more
    return found


def hanging(functions: Mapping[str, Function]) -> list[str]:
    """Calls of collective functions that the first process makes alone."""
    together = collective(functions)
    return [
        f"{name} calls {other}"
        for name, one in functions.items()
        for other in sorted(one.calls_first_only & together)
    ]
