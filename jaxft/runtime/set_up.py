"""Settings of the process that a run wants: caches of programs and of memory."""

import jax

from jaxft.runtime import allocator, noise
from jaxft.runtime.folders import cache_directory


def set_up(cache_dir: str) -> None:
    """Let the process keep freed memory, and compiled programs in `config.cache_dir`."""
    noise.hush()
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # see allocator.py
    if jax.default_backend() == "cpu":
        allocator.keep_freed_memory()
    else:
        allocator.keep_freed_images()
    if not getattr(jax.config, "jax_compilation_cache_dir", None):
        jax.config.update("jax_compilation_cache_dir", str(cache_directory(cache_dir) / "xla"))
        # By itself JAX keeps what took a second to compile: one in ten of the programs of a run.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
