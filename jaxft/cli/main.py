"""Entry of the command line: flags -> config -> a verb -> an exit code (EXIT_CODES)."""

import argparse
import errno
import io
import sys
import traceback
from collections.abc import Sequence
from contextlib import redirect_stderr, suppress
from typing import Protocol, runtime_checkable

from jaxft.cli import (
    augment_preview,
    bench,
    cache,
    compare,
    completion,
    configs,
    early,
    embed,
    evaluate,
    export,
    hints,
    keys,
    lr_find,
    models,
    plan,
    predict,
    prepare,
    probe,
    push,
    report,
    study,
    sweep,
    train,
    words,
)
from jaxft.cli.from_run import read_config
from jaxft.cli.processes import join, leave, tell_once
from jaxft.errors import NonFiniteError, UserError, printable
from jaxft.runtime import grace, lost_host, noise, streams
from jaxft.runtime.version import VERSION

EXIT_CODES = """exit codes:
  0 done; 1 a bug in jaxft; 2 a mistake in the input; 3 the loss is no longer finite;
  75 interrupted; the same command resumes;
  141 nobody reads what is printed, which ends a verb that only prints"""
ROOM = "Make room, then give the same command; training goes on from its last checkpoint."
# What helps against an error of a disk or a bucket, by the operating system's number.
MENDING = {
    errno.ENOSPC: ROOM,
    errno.EDQUOT: ROOM,
    errno.ECONNRESET: "Give the same command again; training goes on from its last checkpoint.",
}
UNREAD = 141  # what a shell makes of SIGPIPE


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
    "cache": cache,
    "configs": configs,
    "models": models,
    "keys": keys,
    "completion": completion,
}


def entry() -> None:
    """Run the console script `jaxft`."""
    grace.own_process()
    for stream in (sys.stdout, sys.stderr):  # file names may hold what the terminal cannot show
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = main(sys.argv[1:])
    except SystemExit as stop:  # argparse has told something
        code = stop.code if isinstance(stop.code, int) else 0
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        streams.drop(sys.stdout)
        code = code or UNREAD
    sys.exit(code)


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
            streams.drop(sys.stdout)
            return UNREAD
        told = f"jaxft: {error.strerror or error}: {error.filename or ''}"
        print(printable(told), *_hint(error), sep="\n", file=sys.stderr)
        return leave(2)
    except Exception as error:
        if lost_host.is_sign(error):
            lost_host.end()
        print(printable(traceback.format_exc()), file=sys.stderr)
        print("jaxft: this is a bug; please report it with the lines above.", file=sys.stderr)
        return leave(1)


def _hint(error: OSError) -> list[str]:
    return [MENDING[error.errno]] if error.errno in MENDING else []


def _run(arguments: Sequence[str]) -> int:
    if not arguments:
        parsers()[""].print_help()
        return 0
    noise.hush()
    options = read(arguments)
    early.check(options)
    if "distributed" in options:
        join(options.distributed)
    return VERBS[options.verb].run(options)


def read(arguments: Sequence[str]) -> argparse.Namespace:
    """Read a command line, its config too.

    Raises:
      UserError: lists the words that are unknown, or the keys that cannot be set.
      SystemExit: argparse has told of a mistake, or shown help.
    """
    given, every = words.of_verb(arguments, VERBS), parsers()
    parser = every[given[0]] if given[0] in every else every[""]
    known = words.flags_of(parser)
    plain, overrides = words.sorted_out(given, known)
    if unknown := words.unknown_flags(plain, known):
        raise hints.unknown(strays(every[""], plain) or unknown, plain, known)
    options, rest = every[""].parse_known_args(plain)
    if rest:
        raise hints.unknown(rest, plain, known)
    options.parser = every[""]
    if getattr(options, "config", None) is not None or getattr(options, "from_run", None):
        options.config_words = " ".join([options.config or "", *overrides])
        options.config = read_config(options, overrides)
    elif overrides:
        beside = " beside --workdir" if "config" in options else ""
        raise UserError(f"{options.verb} takes no config{beside}:", overrides)
    return options


def strays(parser: argparse.ArgumentParser, plain: Sequence[str]) -> list[str]:
    """List the words that a parser cannot place; [] where it refuses the others already."""
    with redirect_stderr(io.StringIO()), suppress(SystemExit):
        return parser.parse_known_args(plain)[1]
    return []


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of the whole, as "", and that of each verb."""
    parser = argparse.ArgumentParser(
        prog="jaxft",
        description="Fine-tune pretrained image classifiers by the classic eight-step recipe.",
        epilog=f"`jaxft help VERB` tells more of a verb.\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"jaxft {VERSION}")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB")
    found = {"": parser}
    for name, verb in VERBS.items():
        found[name] = subparsers.add_parser(
            name,
            help=verb.HELP,
            description=verb.HELP,
            epilog=EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        verb.add(found[name])
    return found
