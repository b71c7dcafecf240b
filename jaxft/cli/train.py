"""`jaxft train`."""

import sys
from argparse import ArgumentParser, Namespace

from jaxft.cli import flags
from jaxft.cli.processes import tell_once
from jaxft.errors import Interrupted

HELP = "run a recipe, or resume it"


def add(parser: ArgumentParser) -> None:
    """Add the verb's flags."""
    flags.add_config(parser)
    flags.add_workdir(parser)
    flags.add_distributed(parser)


def run(options: Namespace) -> int:
    """Train; return the exit code."""
    from jaxft import run
    from jaxft.runtime.console import Console

    try:
        run.train(options.config, options.workdir, Console(sys.stdout))
    except Interrupted:
        tell_once("interrupted; the same command resumes from here")
        return 75
    return 0
