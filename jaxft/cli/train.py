"""`jaxft train`."""

import sys
from argparse import ArgumentParser, Namespace

from jaxft.cli import flags
from jaxft.cli.processes import tell_once
from jaxft.errors import Interrupted, UserError

HELP = "run a recipe, resume it, or go on from a run"


def add(parser: ArgumentParser) -> None:
    """Add the verb's flags."""
    flags.add_config(parser, required=False)
    parser.add_argument(
        "--from",
        dest="from_run",
        default="",
        metavar="DIR",
        help="begin with the best weights of the run there, and by its config if no other is given",
    )
    parser.add_argument(
        "--phase",
        dest="phases",
        default="",
        metavar="NAME[,NAME]",
        help="run these phases of the config alone",
    )
    flags.add_workdir(parser)
    flags.add_distributed(parser)


def run(options: Namespace) -> int:
    """Train; return the exit code."""
    if options.config is None:
        raise UserError("train takes --config=NAME or --from=DIR, a run's workdir")
    from jaxft import run
    from jaxft.runtime.console import Console

    try:
        run.train(options.config, options.workdir, Console(sys.stdout))
    except Interrupted:
        tell_once("interrupted; the same command resumes from here")
        return 75
    except KeyboardInterrupt:
        tell_once("interrupted at once; the same command resumes from the last checkpoint")
        raise
    return 0
