"""`jaxft export`."""

import argparse
import sys
from argparse import ArgumentParser, Namespace

from jaxft.cli import flags
from jaxft.cli.outputs import demand_new_folder
from jaxft.errors import UserError, in_a_line

HELP = "write a run's model in the formats of other libraries"
FORMATS = {
    "timm": "a folder that timm opens (of a ResNet also torchvision)",
    "stablehlo": "a program that JAX alone runs",
    "onnx": "a graph that ONNX Runtime and other engines run",
}
# A layout of FORMAT is a format of its own by the name FORMAT_LAYOUT.
LAYOUTS = {"triton": "onnx as a model repository of Triton"}


def add(parser: ArgumentParser) -> None:
    """Add the verb's flags."""
    flags.add_workdir(parser)
    told = "; ".join(f"{name}: {what}" for name, what in FORMATS.items())
    parser.add_argument(
        "--to", required=True, type=names, metavar="FORMAT[,FORMAT]", help=f"formats: {told}"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="a new folder")
    told = "; ".join(f"{name}: {what}" for name, what in LAYOUTS.items())
    parser.add_argument("--layout", choices=LAYOUTS, help=f"another layout of the files: {told}")
    parser.add_argument("--weights", default="best", choices=("best", "last"), help="default: best")
    parser.add_argument(
        "--images",
        nargs="+",
        default=(),
        metavar="IMAGE",
        help="files or folders to compare answers on (default: validation images of the run)",
    )


def names(text: str) -> tuple[str, ...]:
    """Read names of formats, separated by commas."""
    found = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    unknown = ", ".join(repr(name) for name in found if name not in FORMATS)
    if unknown:
        raise argparse.ArgumentTypeError(
            f"{unknown}: no such format; they are {', '.join(FORMATS)}"
        )
    return found


def laid_out(formats: tuple[str, ...], layout: str | None) -> tuple[str, ...]:
    """Return the formats' names in this layout, None: in the usual one.

    Raises:
      UserError: the layout is not one of these formats.
    """
    if layout is None:
        return formats
    if formats != ("onnx",):
        raise UserError(
            f"--layout={layout} goes with --to=onnx", hint="Leave it out, or export twice."
        )
    return (f"onnx_{layout}",)


def run(options: Namespace) -> int:
    """Write, compare, and say how far the answers differ; return the exit code."""
    from jaxft.export.formats import Disagreement

    demand_new_folder("--output", options.output)
    options.to = laid_out(options.to, options.layout)
    try:
        _export(options)
    except Disagreement as error:
        print(f"jaxft: {error}. Nothing is left at {in_a_line(options.output)}.", file=sys.stderr)
        return 1
    print(f"{', '.join(options.to)} -> {in_a_line(options.output)}")
    return 0


def _export(options: Namespace) -> None:
    from jaxft.export import card, formats, opening, place, reference
    from jaxft.runtime.console import Console

    console = Console(sys.stderr)
    chosen = {name: formats.FORMATS[name]() for name in options.to}
    subject = opening.of_run(options.workdir, options.weights)
    formats.demand(chosen, subject)
    own = reference.ask(subject, options.workdir, options.images, console)
    about = card.About(subject, opening.contents(options.workdir, options.weights), own.told)
    with place.aside(options.output) as folder:
        sections = []
        for name, one in chosen.items():
            answer = one.write(subject, folder)
            found = formats.difference(answer, own.canvases, own.probabilities)
            print(f"{name}: at most {found:.1e} from the run's probabilities, on {own.told}")
            formats.demand_agreement(name, found)
            sections.append(card.Section(name, one.usage(subject), found))
        card.write(folder, place.name(options.output), about, sections)
