"""`jaxft sweep`."""

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace

from jaxft.cli import flags
from jaxft.cli.processes import tell_once
from jaxft.errors import Interrupted

HELP = "train many heads at once on the cached features, and rank their settings"
FLAGS = {
    "lr": "learning rates of the phase (default: five, by the optimizer)",
    "weight-decay": "weight decays (default: 0 and a usual one, by the optimizer)",
    "dropout": "rates before the last layer, half before others (default: 0,0.25,0.5)",
    "smoothing": "shares of label smoothing (default: 0,0.1)",
}


def add(parser: ArgumentParser) -> None:
    """Add the verb's flags."""
    flags.add_config(parser)
    parser.add_argument("--workdir", required=True, help="directory of the sweep")
    for name, text in FLAGS.items():
        parser.add_argument(f"--{name}", type=numbers, default=(), metavar="A,B,...", help=text)
    parser.add_argument(
        "--hidden",
        type=shapes,
        default=(),
        metavar="A,B,...",
        help="hidden layers: 512, 512x128, or nothing for none; `,512` tries none and 512 "
        "(default: as the config says)",
    )
    parser.add_argument(
        "--seeds", type=flags.positive, default=1, metavar="N", help="of each setting (default: 1)"
    )
    parser.add_argument(
        "--epochs", type=flags.positive, default=0, metavar="N", help="(default: the phase's)"
    )


def numbers(text: str) -> tuple[float, ...]:
    """Read numbers between commas, each once."""
    try:
        return tuple(dict.fromkeys(float(word) for word in text.split(",")))
    except ValueError:
        raise ArgumentTypeError(f"{text!r} should be numbers between commas") from None


def shapes(text: str) -> tuple[tuple[int, ...], ...]:
    """Read the widths of heads' hidden layers: `,512,512x128` is none, one and two layers."""
    words = [word.split("x") if word else [] for word in text.split(",")]
    if not all(width.isdecimal() for word in words for width in word):
        raise ArgumentTypeError(f"{text!r} should be such as 512 or ,512,512x128")
    return tuple(dict.fromkeys(tuple(map(int, word)) for word in words))


def run(options: Namespace) -> int:
    """Sweep; return the exit code."""
    from jaxft.runtime.console import Console
    from jaxft.training.sweep.grid import Grid
    from jaxft.training.sweep.story import sweep

    grid = Grid(
        options.lr,
        options.weight_decay,
        options.dropout,
        options.hidden,
        options.smoothing,
        options.seeds,
        options.epochs,
    )
    try:
        sweep(options.config, grid, options.workdir, Console(sys.stdout))
    except Interrupted:
        tell_once("interrupted; the same command goes on from here")
        return 75
    return 0
