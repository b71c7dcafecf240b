"""`jaxft probe`."""

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace

from jaxft.cli import flags
from jaxft.cli.processes import tell_once
from jaxft.errors import Interrupted

HELP = "rank bodies and weights by linear heads on the features of your images"


def add(parser: ArgumentParser) -> None:
    """Add the verb's flags."""
    flags.add_config(parser)
    parser.add_argument("--workdir", required=True, help="directory of the probe")
    parser.add_argument(
        "--bodies",
        type=bodies,
        default=(),
        metavar="A,B,...",
        help="MODEL or MODEL:WEIGHTS each, as config.model.name and weights have them "
        "(default: the config's, and all whose usual weights are on this machine)",
    )


def bodies(text: str) -> tuple[str, ...]:
    """Read bodies between commas."""
    words = tuple(word.strip() for word in text.split(","))
    if not all(word and not word.startswith(":") for word in words):
        raise ArgumentTypeError(f"{text!r} should be such as resnet18,resnet50:tv_in1k")
    return words


def run(options: Namespace) -> int:
    """Probe; return the exit code."""
    from jaxft.costs import flops
    from jaxft.runtime.console import Console
    from jaxft.training.probe.story import probe

    console = Console(sys.stdout)
    try:
        probe(options.config, options.bodies, options.workdir, console, flops.of_traced)
    except Interrupted:
        tell_once("interrupted; the same command goes on from here")
        return 75
    return 0
