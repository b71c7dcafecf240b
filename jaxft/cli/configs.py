"""`jaxft configs`."""

import ast
from argparse import ArgumentParser, Namespace

from jaxft.cli.config_file import load_config, shipped
from jaxft.runtime.lines import folded

HELP = "list the configs that come with jaxft, or the values of one"


def add(parser: ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("name", nargs="?", metavar="CONFIG", help="a config file, or a name")


def run(options: Namespace) -> int:
    """Print the list or the values; return the exit code."""
    print("\n".join(values(options.name) if options.name else listed()))
    return 0


def listed() -> list[str]:
    """Name, purpose and file of each card."""
    lines = []
    for name, file in shipped().items():
        told = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        purpose = " ".join(told.partition("\n\n")[0].split())
        lines += [name, folded(f"    {purpose}", 0), f"    {file}"]
    return [*lines, "", "`jaxft configs NAME` prints the values of one."]


def values(name: str) -> list[str]:
    """Every key of a config with its value, and its default where that is another."""
    from jaxft.config.keys import PHASE, keys, values_of

    found = values_of(load_config(name))
    defaults = {key.path: key.default for key in keys()}
    lines = []
    for path, value in found.items():
        phase = path.split(".")[1] if path.startswith("phases.") else ""
        default = defaults[path.replace(f"phases.{phase}", PHASE) if phase else path]
        differs = value != default and not path.endswith(".name")
        lines.append(f"{path} = {value!r}" + (f"  # default: {default!r}" if differs else ""))
    return lines
