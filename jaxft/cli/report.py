"""`jaxft report`."""

import sys
from argparse import ArgumentParser, Namespace

from jaxft.cli import flags
from jaxft.errors import in_a_line

HELP = "write a page of a run, finished or not"


def add(parser: ArgumentParser) -> None:
    """Add the verb's flags."""
    flags.add_workdir(parser)
    parser.add_argument(
        "--output",
        default="",
        metavar="FILE",
        help="HTML file to write (default: report.html in the workdir)",
    )


def run(options: Namespace) -> int:
    """Write the page; return the exit code."""
    from jaxft.report.page import page
    from jaxft.runtime import paths

    paths.demand_workdir(options.workdir)
    paths.demand(options.workdir, options.output)
    workdir = paths.of(options.workdir)
    output = paths.of(options.output) if options.output else workdir / page.FILE
    for line in page.write_to(workdir, output):
        print(in_a_line(f"warning: {line}"), file=sys.stderr)
    print(in_a_line(output))
    return 0
