"""`jaxft prepare`."""

import argparse
import sys
from argparse import ArgumentParser, Namespace

from jaxft.cli import flags

HELP = "check and shrink image files once, into a TFDS data set"


def add(parser: ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument(
        "--source", required=True, help="folder:PATH or csv:FILE, as for data.source"
    )
    parser.add_argument(
        "--output", "--output_dir", required=True, dest="output_dir", help="folder to make"
    )
    parser.add_argument(
        "--shorter-side",
        "--shorter_side",
        type=flags.positive,
        default=256,
        metavar="PIXELS",
        help="larger images are shrunk to it (default: 256); for training at S px, ceil(1.1 S) is "
        "cheapest",
    )
    parser.add_argument(
        "--format",
        default="jpeg",
        choices=("jpeg", "raw"),
        help="jpeg (default), or raw pixels: 10 times as large, but quick to read",
    )
    parser.add_argument(
        "--quality", type=_quality, default=90, metavar="Q", help="of a JPEG, 1-100 (default: 90)"
    )
    parser.add_argument(
        "--max-pixels",
        "--max_pixels",
        type=flags.positive,
        default=0,
        metavar="N",
        help="larger images are refused by their header (default: as data.max_pixels)",
    )
    parser.add_argument(
        "--workers",
        type=flags.count,
        default=0,
        metavar="N",
        help="processes (default: one per core)",
    )


def _quality(text: str) -> int:
    number = flags.positive(text)
    if number > 100:
        raise argparse.ArgumentTypeError(f"{text!r} is more than 100")
    return number


def run(options: Namespace) -> int:
    """Write the data set; return the exit code."""
    from jaxft.data.images.sizing import MAX_PIXELS
    from jaxft.data.prepare import outcome, prepare
    from jaxft.data.prepare.job import Form
    from jaxft.runtime.console import Console

    max_pixels = options.max_pixels or MAX_PIXELS
    form = Form(options.shorter_side, options.format, options.quality, max_pixels)
    console = Console(sys.stdout)
    found = prepare.prepare(options.source, options.output_dir, form, options.workers, console)
    console.say(outcome.text(found))
    return 0
