"""`jaxft evaluate`."""

import sys
from argparse import ArgumentParser, Namespace

from jaxft.cli import flags
from jaxft.cli.outputs import demand_new_folder
from jaxft.errors import printable
from jaxft.runtime import plain_json

HELP = "metrics of a run's weights on a split"


def add(parser: ArgumentParser) -> None:
    """Add the verb's flags."""
    flags.add_workdir(parser)
    parser.add_argument(
        "--split", default="", help="valid (default), train, test, or all (default with --source)"
    )
    parser.add_argument(
        "--source",
        default="",
        help="other labelled images than the run's: folder:PATH, csv:FILE, ...",
    )
    parser.add_argument(
        "--output",
        default="",
        metavar="DIR",
        help="a new folder, for what each image was taken for, tables by class, contact sheets",
    )
    flags.add_scoring(parser)
    flags.add_batch_size(parser)
    flags.add_distributed(parser)


def run(options: Namespace) -> int:
    """Print the metrics as JSON, and write the files; return the exit code."""
    from jaxft.evaluation.evaluate import ALL, evaluate
    from jaxft.report.answers.files import write_answers
    from jaxft.runtime import paths
    from jaxft.runtime.console import Console

    demand_new_folder("--output", options.output)
    found = evaluate(
        options.workdir,
        options.split or (ALL if options.source else "valid"),
        options.weights,
        options.tta,
        options.tta_method,
        Console(sys.stderr),
        options.batch_size,
        options.source,
    )
    if options.output:
        write_answers(paths.of(options.output), *found)
    print(printable(plain_json.dumps(found.scores, indent=2, ensure_ascii=False)))
    return 0
