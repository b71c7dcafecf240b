"""`jaxft evaluate`."""

import json
import sys
from argparse import ArgumentParser, Namespace

from jaxft.cli import flags

HELP = "metrics of a run's weights on a split"


def add(parser: ArgumentParser) -> None:
    """Add the verb's flags."""
    flags.add_workdir(parser)
    parser.add_argument("--split", default="valid", help="valid (default), train or test")
    flags.add_scoring(parser)
    flags.add_batch_size(parser)
    flags.add_distributed(parser)


def run(options: Namespace) -> int:
    """Print the metrics as JSON; return the exit code."""
    from jaxft.evaluation.evaluate import score_split
    from jaxft.runtime.console import Console

    scores = score_split(
        options.workdir,
        options.split,
        options.weights,
        options.tta,
        options.tta_method,
        Console(sys.stderr),
        options.batch_size,
    )
    print(json.dumps(scores, indent=2, ensure_ascii=False))
    return 0
