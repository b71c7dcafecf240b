"""`jaxft predict`."""

import sys
from argparse import ArgumentParser, Namespace

from jaxft.cli import flags
from jaxft.cli.outputs import usual_output
from jaxft.errors import UserError, in_a_line

HELP = "classify image files into a table"
FORMATS = ("csv", "json", "parquet", "submission")
IDS = ("name", "stem", "path")


def add(parser: ArgumentParser) -> None:
    """Add the verb's flags."""
    flags.add_workdir(parser)
    flags.add_scoring(parser)
    parser.add_argument(
        "--output",
        default="",
        metavar="FILE",
        help="new file to write, or - for stdout (default: predictions.csv, or as the format)",
    )
    parser.add_argument(
        "--format", default="", choices=FORMATS, help="default: by the output's suffix, else csv"
    )
    parser.add_argument(
        "--topk",
        type=flags.positive,
        default=0,
        metavar="K",
        help="the K most probable classes of each image, instead of every probability",
    )
    parser.add_argument(
        "--columns",
        default="",
        help="of a submission: id,label (default), id,* (every probability) or id,CLASS,...",
    )
    parser.add_argument(
        "--id",
        default="",
        choices=IDS,
        help="of an image in a submission: its file's name (default), its stem or its path",
    )
    parser.add_argument(
        "--skip-bad",
        "--skip_bad",
        action="store_true",
        help="leave out files that cannot be read, and list them at the end",
    )
    parser.add_argument(
        "--unknown",
        action="store_true",
        help="also tell how unlike the training images each image is (columns distance, farther)",
    )
    flags.add_batch_size(parser)
    flags.add_distributed(parser)
    parser.add_argument("paths", nargs="+", metavar="IMAGE", help="image files, or folders of them")


def run(options: Namespace) -> int:
    """Write the predictions, and say what was seen; return the exit code."""
    _demand_fitting(options)
    from jaxft.evaluation import predict
    from jaxft.evaluation.prediction_files import STDOUT, Layout
    from jaxft.evaluation.probabilities import Scoring
    from jaxft.report import predictions
    from jaxft.runtime.console import Console

    output = options.output or usual_output(options.format)
    console = Console(sys.stderr)
    found = predict.predict_files(
        options.workdir,
        options.paths,
        output,
        Scoring(options.weights, options.tta, options.tta_method, options.batch_size),
        console,
        options.unknown,
        Layout(options.format, options.topk, options.columns or "id,label", options.id or "name"),
        options.skip_bad,
    )
    told = Console(sys.stderr if output == STDOUT else sys.stdout)
    for line in predictions.lines_of(found):
        told.say(line)
    count = len(found.files)
    told.say(f"{count} image{'s' if count != 1 else ''} -> {in_a_line(output)}")
    if found.skipped:
        console.say(found.skipped)
    return 0


def _demand_fitting(options: Namespace) -> None:
    """Raise UserError where flags do not go together; lists all."""
    submission = options.format == "submission"
    given = {
        "--columns": bool(options.columns),
        "--id": bool(options.id),
        "--topk": options.topk > 0,
        "--unknown": options.unknown,
    }
    wrong = [
        flag
        for flag, there in given.items()
        if there and (flag in ("--columns", "--id")) != submission
    ]
    if wrong:
        kind = f"--format={options.format}" if submission else "a table other than a submission"
        raise UserError(f"These flags do not go with {kind}:", wrong)
