"""Start of a command: its config, and the process set up for it."""

from typing import Any

from jaxft.config import load
from jaxft.config.resolve import resolved
from jaxft.config.settings import Settings
from jaxft.data.sources import place
from jaxft.runtime import hosts, paths
from jaxft.runtime.paths import AnyPath
from jaxft.runtime.set_up import set_up


def start_up(
    config: Any, workdir: str | AnyPath = "", trains: bool = False
) -> tuple[Settings, dict[str, Any]]:
    """Read a config and set up the process for it; -> settings, and the config for the workdir.

    Args:
      config: a ConfigDict, or the same as plain data.
      workdir: of the run, if there is one; a new one lies apart from the data.
      trains: a whole run will be made, with its trackers.

    Raises:
      UserError: a bad config, missing packages of its trackers, or buckets that cannot be reached.
    """
    settings = load.read(config, workdir if trains else "")
    named = (settings.model.weights, settings.data.source)  # file:PATH, folder:PATH, csv:PATH
    files = [name.partition(":")[2] for name in named]
    if workdir:
        hosts.together(lambda: place.demand_apart(workdir, settings.data.source))
    paths.demand(settings.cache_dir, settings.init_from, *files, workdir=workdir)
    set_up(settings.cache_dir)
    plain = hosts.together(lambda: resolved(config))
    return load.from_dict(plain), plain
