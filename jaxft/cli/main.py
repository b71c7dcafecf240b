"""Entry of the command line: flags -> config -> a verb -> an exit code (EXIT_CODES)."""

import argparse
import glob
import io
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxft.cli import (
    augment_preview,
    bench,
    compare,
    embed,
    evaluate,
    export,
    lr_find,
    plan,
    predict,
    prepare,
    probe,
    push,
    report,
    study,
    sweep,
    train,
)
from jaxft.cli.from_run import read_config
from jaxft.cli.processes import join, joined, leave, tell_once
from jaxft.errors import NonFiniteError, UserError, printable

EXIT_CODES = """exit codes:
  0 done; 1 a bug in jaxft; 2 a mistake in the input; 3 the loss is no longer finite;
  75 interrupted; the same command resumes"""


@runtime_checkable
class Verb(Protocol):
    """A verb's module. It imports JAX no earlier than in `run`, so that `--help` is quick."""

    HELP: str

    def add(self, parser: argparse.ArgumentParser) -> None:
        """Add the verb's flags."""

    def run(self, options: argparse.Namespace) -> int:
        """Run the verb; return the exit code."""


VERBS: dict[str, Verb] = {
    "train": train,
    "lr_find": lr_find,
    "probe": probe,
    "sweep": sweep,
    "study": study,
    "evaluate": evaluate,
    "compare": compare,
    "predict": predict,
    "embed": embed,
    "export": export,
    "push": push,
    "report": report,
    "prepare": prepare,
    "plan": plan,
    "augment_preview": augment_preview,
    "bench": bench,
}


def entry() -> None:
    """Run the console script `jaxft`."""
    for stream in (sys.stdout, sys.stderr):  # file names may hold what the terminal cannot show
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one verb; return the exit code."""
    try:
        return _run(arguments)
    except UserError as error:
        if error.everywhere:
            tell_once(f"jaxft: {error}")
            return 2
        print(f"jaxft: {error}", file=sys.stderr)
        return leave(2)
    except NonFiniteError as error:
        tell_once(f"jaxft: {error}")
        return 3
    except KeyboardInterrupt:
        return leave(75)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        told = f"jaxft: {error.strerror or error}: {error.filename or ''}"
        print(printable(told), file=sys.stderr)
        return leave(2)
    except Exception:
        print(printable(traceback.format_exc()), file=sys.stderr)
        if joined():
            print("jaxft: did another process end? If not, then", file=sys.stderr)
        print("jaxft: this is a bug; please report it with the lines above.", file=sys.stderr)
        return leave(1)


def _run(arguments: Sequence[str]) -> int:
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if options.verb is None:
        parser.print_help()
        return 2
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if not glob.glob("/dev/nvidia*"):
        logging.getLogger("jax._src.xla_bridge").addFilter(_is_worth_telling)
    overrides = [item for item in rest if item.startswith("--config.")]
    unknown = [item for item in rest if item not in overrides]
    if unknown:
        raise UserError(
            "Unknown arguments:", unknown, f"`jaxft {options.verb} --help` lists the known ones."
        )
    given = bool(getattr(options, "config", None) or getattr(options, "from_run", ""))
    if overrides and not given:
        beside = " beside --workdir" if "config" in options else ""
        raise UserError(f"{options.verb} takes no config{beside}:", overrides)
    if given:
        options.config_words = " ".join([options.config or "", *overrides])
        options.config = read_config(options, overrides)
    if "distributed" in options:
        join(options.distributed)
    return VERBS[options.verb].run(options)


def _is_worth_telling(record: logging.LogRecord) -> bool:
    """Tell whether to show a record of JAX's on a machine without an NVIDIA GPU.

    JAX tries the CUDA plugin at every start, and logs a traceback where it finds no CUDA, which
    is no error where the plugin is there for `plan --topology=h100` alone.
    """
    text = record.getMessage()
    return not (text.startswith("Jax plugin configuration error") and "cuda" in text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jaxft",
        description="Fine-tune pretrained image classifiers by the classic eight-step recipe.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB")
    for name, verb in VERBS.items():
        subparser = subparsers.add_parser(
            name,
            help=verb.HELP,
            description=verb.HELP,
            epilog=EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        verb.add(subparser)
    return parser
