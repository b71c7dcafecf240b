"""`jaxft compare`."""

from argparse import ArgumentParser, Namespace

from jaxft.errors import in_a_line

HELP = "whether one of two runs is better, example by example"


def add(parser: ArgumentParser) -> None:
    """Add the verb's flags."""
    for name in ("first", "second"):
        parser.add_argument(
            name, metavar="RUN", help="a workdir, or a folder that `evaluate --output` wrote"
        )


def run(options: Namespace) -> int:
    """Print the comparison; return the exit code."""
    from jaxft.evaluation.compare import compare, read_predictions
    from jaxft.report.answers.comparison import text
    from jaxft.runtime import paths

    given = (options.first, options.second)
    paths.demand(*given)
    print(
        text(
            compare(*(read_predictions(paths.of(place)) for place in given)), *map(in_a_line, given)
        )
    )
    return 0
