"""`jaxft augment_preview`."""

from argparse import ArgumentParser, Namespace

from jaxft.cli import flags
from jaxft.cli.outputs import demand_picture, demand_places
from jaxft.errors import in_a_line

HELP = "draw augmented training images as a contact sheet"


def add(parser: ArgumentParser) -> None:
    """Add the verb's flags."""
    flags.add_config(parser)
    parser.add_argument(
        "--output",
        default="augment_preview.png",
        metavar="FILE",
        help="the picture: .png, .jpg",
    )
    parser.add_argument(
        "--examples", type=flags.positive, default=8, metavar="N", help="images (default: 8)"
    )
    parser.add_argument(
        "--views",
        type=flags.positive,
        default=6,
        metavar="N",
        help="random views of each (default: 6)",
    )


def run(options: Namespace) -> int:
    """Draw the picture; return the exit code."""
    from jaxft.augment import augmentation
    from jaxft.materials.data import open_data
    from jaxft.materials.start_up import start_up
    from jaxft.report import augment_preview
    from jaxft.runtime import paths

    demand_picture("--output", options.output, (".png", ".jpg", ".jpeg"))
    demand_places(options.output)
    settings, _ = start_up(options.config)
    dataset, output = open_data(settings), paths.of(options.output)
    augment_preview.make(settings, dataset, output, options.examples, options.views)
    print(f"{augmentation.in_words(settings.augment)}\n-> {in_a_line(options.output)}")
    return 0
