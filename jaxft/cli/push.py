"""`jaxft push`."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

HELP = "upload an exported model to the Hugging Face hub"


def add(parser: ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("folder", metavar="DIR", help="a folder that `jaxft export` wrote")
    parser.add_argument("repository", metavar="REPO", help="NAME or OWNER/NAME")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument(
        "--revision", default="", metavar="BRANCH", help="made if it is not there (default: main)"
    )


def run(options: Namespace) -> int:
    """Upload; return the exit code."""
    from jaxft.export.push import push

    print(push(Path(options.folder), options.repository, options.private, options.revision))
    return 0
