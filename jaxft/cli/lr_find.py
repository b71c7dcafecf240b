"""`jaxft lr_find`."""

import sys
from argparse import ArgumentParser, Namespace

from jaxft.cli import flags

HELP = "find the learning rate of one phase"


def add(parser: ArgumentParser) -> None:
    """Add the verb's flags."""
    flags.add_config(parser)
    flags.add_workdir(parser)
    parser.add_argument(
        "--phase", default="", help='name of the phase (default: the first with lr="find")'
    )
    flags.add_distributed(parser)


def run(options: Namespace) -> int:
    """Find the rate; return the exit code."""
    from jaxft.runtime.console import Console
    from jaxft.training import rate_of_phase

    rate_of_phase.find_rate(options.config, options.workdir, options.phase, Console(sys.stdout))
    return 0
