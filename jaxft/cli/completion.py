"""`jaxft completion`."""

from argparse import Action, ArgumentParser, Namespace

from jaxft.errors import UserError

HELP = "print a script that lets the shell complete verbs and flags"
HOW = """to use it, in the shell's start-up file:
  bash: eval "$(jaxft completion bash)"
  zsh:  eval "$(jaxft completion zsh)"     after compinit
  fish: jaxft completion fish | source"""
FOLDERS = ("workdir", "output_dir")
SHELLS = ("bash", "zsh", "fish")


def add(parser: ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or fish")
    parser.epilog = f"{HOW}\n\n{parser.epilog}"


def run(options: Namespace) -> int:
    """Print the script; return the exit code."""
    print(script(options.parser, options.shell))
    return 0


def script(parser: ArgumentParser, shell: str) -> str:
    """Return the script that completes a parser's command line.

    Raises:
      UserError: shtab is not installed.
    """
    try:
        import shtab
    except ImportError as error:
        raise UserError(
            "Scripts for the shell are made by shtab, which is not installed",
            hint="pip install 'jaxft[completion]'",
        ) from error
    for action in _actions(parser):
        if action.choices is None and action.nargs != 0:
            action.complete = shtab.DIRECTORY if action.dest in FOLDERS else shtab.FILE  # type: ignore[attr-defined]
    found: str = shtab.complete(parser, shell)
    return found


def _actions(parser: ArgumentParser) -> list[Action]:
    """List the flags and arguments of a parser's verbs."""
    verbs = [action.choices for action in parser._actions if isinstance(action.choices, dict)]
    return [action for verb in verbs[0].values() for action in verb._actions]
