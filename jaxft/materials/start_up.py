"""Reads a config and sets the process up for it."""

from typing import Any

import jax

from jaxft.config import load
from jaxft.config.settings import Settings
from jaxft.runtime import allocator, hosts, paths
from jaxft.runtime.folders import default_directory
from jaxft.runtime.paths import AnyPath


def cache_directory(settings: Settings) -> AnyPath:
    """Folder of features and compiled programs: as the config says, or the user's cache."""
    given = settings.cache_dir
    return paths.of(given) if given else default_directory()


def start_up(config: Any, workdir: str | AnyPath = "") -> tuple[Settings, dict[str, Any]]:
    """Read a config and set up the process for it; -> settings, and the config for the workdir.

    Raises:
      UserError: a bad config, or buckets in it that cannot be reached.
    """
    settings = load.read(config)
    named = (settings.model.weights, settings.data.source)  # file:PATH, folder:PATH, csv:PATH
    files = [name.partition(":")[2] for name in named]
    paths.demand(settings.cache_dir, settings.init_from, *files, workdir=workdir)
    set_up(settings)
    plain = hosts.together(lambda: load.resolved(config))
    return load.from_dict(plain), plain


def set_up(settings: Settings) -> None:
    """Let the process keep compiled programs on disk, and freed memory in hand."""
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # see allocator.py
    if jax.default_backend() == "cpu":
        allocator.keep_freed_memory()
    else:
        allocator.keep_freed_images()
    if not getattr(jax.config, "jax_compilation_cache_dir", None):
        jax.config.update("jax_compilation_cache_dir", str(cache_directory(settings) / "xla"))
        # By itself JAX keeps what took a second to compile: one in ten of the programs of a run.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
