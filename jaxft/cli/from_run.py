"""The config of a command: a card's or a run's, with the phases and the keys that are asked for."""

import json
from argparse import Namespace
from collections.abc import Sequence

from ml_collections import ConfigDict

from jaxft.cli.config_file import load_config, overridden
from jaxft.config.plain import as_config
from jaxft.errors import UserError
from jaxft.runtime import paths


def read_config(options: Namespace, overrides: Sequence[str]) -> ConfigDict:
    """Return the config that a command line asks for.

    Args:
      options: `config` names a card or a file; where a verb has them, `from_run` is a workdir whose
        best weights to begin with, and whose config to take if no other is named, and `phases` are
        the names of those to keep, separated by commas.
      overrides: each `--config.KEY=VALUE`; they count the phases that are kept.

    Raises:
      UserError: no such config, run, phase or key.
    """
    workdir, names = getattr(options, "from_run", ""), getattr(options, "phases", "")
    if workdir and paths.absolute(paths.of(workdir)) == paths.absolute(paths.of(options.workdir)):
        raise UserError(
            f"--from and --workdir are the same run, {workdir}",
            hint="Choose another --workdir; to go on in this one give its own command.",
        )
    config = of_run(workdir) if options.config is None else load_config(options.config)
    if workdir:
        config.init_from = workdir
    if names:
        config.phases = chosen(config.phases, names.split(","))
    return overridden(config, overrides)


def of_run(workdir: str) -> ConfigDict:
    """Return the config of the run in a workdir.

    Raises:
      UserError: it holds no run.
    """
    file = paths.of(workdir) / "config.json"
    try:
        return as_config(json.loads(paths.read(file)))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{workdir} holds no run to begin with: {file.name} {_fault(error)}",
            hint="Give --from=DIR, where `jaxft train` wrote a run.",
        ) from error


def _fault(error: Exception) -> str:
    return "is not there" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"


def chosen(phases: Sequence[ConfigDict], names: Sequence[str]) -> tuple[ConfigDict, ...]:
    """Return the phases of these names, in the config's order.

    Raises:
      UserError: lists the names that no phase has.
    """
    known = [phase.name for phase in phases]
    if unknown := [f"{name!r}" for name in names if name not in known]:
        raise UserError(
            "The config has no such phases:", unknown, f"Its phases are: {', '.join(known)}."
        )
    return tuple(phase for phase in phases if phase.name in names)
