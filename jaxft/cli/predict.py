"""`jaxft predict`."""

import sys
from argparse import ArgumentParser, Namespace

from jaxft.cli import flags

HELP = "classify image files into a CSV"


def add(parser: ArgumentParser) -> None:
    """Add the verb's flags."""
    flags.add_workdir(parser)
    flags.add_scoring(parser)
    parser.add_argument(
        "--output", default="predictions.csv", help="CSV to write (default: predictions.csv)"
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
    """Write the predictions; return the exit code."""
    from jaxft.evaluation import predict
    from jaxft.evaluation.probabilities import Scoring
    from jaxft.runtime.console import Console

    count = predict.predict_files(
        options.workdir,
        options.paths,
        options.output,
        Scoring(options.weights, options.tta, options.tta_method, options.batch_size),
        Console(sys.stderr),
        options.unknown,
    )
    print(f"{count} image{'s' if count != 1 else ''} -> {options.output}")
    return 0
