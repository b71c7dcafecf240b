"""`jaxft embed`."""

import sys
from argparse import ArgumentParser, Namespace

from jaxft.cli import flags
from jaxft.errors import UserError, in_a_line

HELP = "features of image files, by a run's body or a pretrained one"


def add(parser: ArgumentParser) -> None:
    """Add the verb's flags."""
    body = parser.add_mutually_exclusive_group(required=True)
    body.add_argument("--workdir", help="directory of the run whose body to take")
    body.add_argument("--config", help=f"or the body of {flags.CONFIG_HELP}")
    parser.epilog = f"{flags.OVERRIDES}\n\n{parser.epilog}"
    parser.add_argument(
        "--weights", default="", choices=("best", "last"), help="of the run (default: best)"
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="FILE",
        help=".npy, with a .csv of the files' names beside it, or .parquet",
    )
    flags.add_batch_size(parser)
    flags.add_distributed(parser)
    parser.add_argument("paths", nargs="+", metavar="IMAGE", help="image files, or folders of them")


def run(options: Namespace) -> int:
    """Write the features; return the exit code."""
    from jaxft.evaluation import embed, feature_files
    from jaxft.runtime.console import Console

    if options.config is not None and options.weights:
        raise UserError(
            "--weights chooses among a run's", hint="--config.model.weights names a body's own."
        )
    feature_files.demand_new(options.output)
    if options.config is not None:
        source = embed.of_config(options.config)
    else:
        source = embed.of_run(options.workdir, options.weights or "best")
    found = embed.embed(source, options.paths, Console(sys.stderr), options.batch_size)
    feature_files.write(options.output, *found)
    count, width = found.features.shape
    files = " and ".join(str(file) for file in feature_files.files_of(options.output))
    print(f"{count} image{'s' if count != 1 else ''}, {width} features each -> {in_a_line(files)}")
    return 0
