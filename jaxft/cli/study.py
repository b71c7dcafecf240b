"""`jaxft study`."""

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace

from jaxft.cli import flags
from jaxft.cli.processes import tell_once
from jaxft.errors import Interrupted

HELP = "measure how long the head should train before the body is unfrozen"


def add(parser: ArgumentParser) -> None:
    """Add the verb's flags."""
    flags.add_config(parser)
    parser.add_argument("--workdir", required=True, help="directory of the study")
    parser.add_argument(
        "--head-epochs",
        type=numbers,
        default=(),
        metavar="A,B,...",
        help="epochs of the head (default: 0,1,2,5,15,45)",
    )
    parser.add_argument(
        "--seeds", type=flags.positive, default=0, metavar="N", help="of each (default: 3)"
    )
    flags.add_distributed(parser)


def numbers(text: str) -> tuple[int, ...]:
    """Read whole numbers between commas, each once."""
    words = text.split(",")
    if not all(word.isdecimal() for word in words):
        raise ArgumentTypeError(f"{text!r} should be whole numbers between commas")
    return tuple(dict.fromkeys(map(int, words)))


def run(options: Namespace) -> int:
    """Study; return the exit code."""
    from jaxft import run
    from jaxft.runtime.console import Console
    from jaxft.training.study.story import EPOCHS, SEEDS, study

    epochs, seeds = options.head_epochs or EPOCHS, options.seeds or SEEDS
    try:
        study(options.config, options.workdir, run.train, epochs, seeds, Console(sys.stdout))
    except Interrupted:
        tell_once("interrupted; the same command goes on from here")
        return 75
    return 0
