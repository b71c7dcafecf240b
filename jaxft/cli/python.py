"""The entrance from Python: `jaxft.train`."""

import os
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxft import run
from jaxft.cli.config_file import load_config, overridden
from jaxft.config import load
from jaxft.config.plain import as_config, as_dict
from jaxft.errors import Interrupted
from jaxft.report.restored import Run, restore
from jaxft.runtime.console import Console, for_python


def train(
    config: str | os.PathLike[str] | ConfigDict | Mapping[str, Any],
    workdir: str | os.PathLike[str],
    overrides: Mapping[str, Any] | None = None,
    *,
    quiet: bool = False,
) -> Run:
    """Run a config's recipe in a workdir, or resume it; return the run.

        run = jaxft.train("folder", "runs/photos", {"data.source": "folder:photos"})

    Args:
      config: the name of a card that comes with jaxft, the path of a config file, or a config
        itself, such as another run's `run.config`; it is not changed.
      workdir: created if missing; an unfinished run of the same config is resumed, a finished one
        is opened.
      overrides: values of keys, by the names that they have after `--config.` on a command line.
      quiet: no progress bars and no lines.

    Returns:
      The run, with the weights that it ends with; `run.summary` has the results.

    Raises:
      UserError: bad config, data, weights or workdir; nothing has been written.
      NonFiniteError: training diverged; checkpoints up to the previous epoch are intact.
      Interrupted: the kernel was interrupted, or SIGTERM arrived; the same call resumes.
    """
    console = Console(None) if quiet else for_python()
    try:
        run.train(_config_of(config, overrides or {}), workdir, console)
    except Interrupted:
        console.say("interrupted; the same call resumes from here")
        raise
    return restore(workdir, quiet=quiet)


def _config_of(config: Any, overrides: Mapping[str, Any]) -> Any:
    """A config of the caller's, loaded if it is a name, with the overrides."""
    items = [f"--config.{key}={value}" for key, value in overrides.items()]
    if isinstance(config, str | os.PathLike):
        return load_config(os.fspath(config), items)
    load.read(config)  # types like a card's can be given to none but a right one
    return overridden(as_config(as_dict(config)), items)
