"""Flags that several verbs take, and the values that flags accept."""

import argparse
from argparse import ArgumentParser

CONFIG_HELP = (
    "a config file, or the name of one that comes with jaxft; NAME.py:ARGUMENT passes ARGUMENT"
)
OVERRIDES = (
    "any key of the config can be set: --config.data.image_size=160 --config.phases.full.lr=0.01"
)


def count(text: str) -> int:
    """Read a whole number from 0 on."""
    return _at_least(0, text)


def positive(text: str) -> int:
    """Read a whole number from 1 on."""
    return _at_least(1, text)


def _at_least(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
    return int(text)


def add_config(parser: ArgumentParser, required: bool = True) -> None:
    """Add `--config`, and a word on overrides below the help."""
    parser.add_argument("--config", required=required, help=CONFIG_HELP)
    parser.epilog = f"{OVERRIDES}\n\n{parser.epilog}"


def add_workdir(parser: ArgumentParser) -> None:
    """Add `--workdir`."""
    parser.add_argument("--workdir", required=True, help="directory of the run")


def add_scoring(parser: ArgumentParser) -> None:
    """Add the choice of weights and of test-time augmentation."""
    parser.add_argument("--weights", default="best", choices=("best", "last"), help="default: best")
    parser.add_argument(
        "--tta", type=count, default=0, metavar="N", help="random views besides the plain one"
    )
    parser.add_argument(
        "--tta_method",
        default="fastai07",
        choices=("fastai07", "fastai2"),
        help="mean of probabilities (default), or weighted mean of log-probabilities",
    )


def add_batch_size(parser: ArgumentParser) -> None:
    """Add `--batch-size`."""
    parser.add_argument(
        "--batch-size",
        "--batch_size",
        type=count,
        default=0,
        metavar="N",
        help="images at a time (default: as the run's); it affects memory and speed, not results",
    )


def add_sizes(parser: ArgumentParser) -> None:
    """Add the sizes of a data set that is not looked at."""
    parser.add_argument(
        "--examples", type=count, default=0, metavar="N", help="training images to assume"
    )
    parser.add_argument("--classes", type=count, default=0, metavar="N", help="classes to assume")


def add_json(parser: ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", default="", metavar="FILE", help="also write the figures as JSON")


def add_distributed(parser: ArgumentParser) -> None:
    """Add `--distributed`."""
    parser.add_argument(
        "--distributed",
        default="auto",
        choices=("auto", "on", "off"),
        help="join other processes: auto (if JAX detects a cluster; the default), on or off",
    )
