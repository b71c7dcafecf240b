"""Options that XLA compiles a run's programs with, beside its defaults."""

from jaxft.models import platform

# Options of a compilation, not flags: they act however jaxft was started, even where a backend is
# up already, and they are part of the compilation cache's key.
DETERMINISTIC: dict[str, bool | str] = {
    # No atomics: scatters are sorted first. Of cuDNN's algorithms only those that give the same
    # bits again, and of several of these the first, not the one that was fastest today.
    "xla_gpu_exclude_nondeterministic_ops": True,
    # XLA leaves Triton's matrix products aside under the option above; cuBLAS takes them.
    "xla_gpu_enable_triton_gemm": False,
    # What the autotuner measured for other programs would be taken before the first algorithm.
    "xla_gpu_per_fusion_autotune_cache_dir": "",
}


def options(deterministic: bool) -> dict[str, bool | str] | None:
    """Return `jax.jit`'s `compiler_options` for a program of the current platform.

    Args:
      deterministic: only operations that give the same bits on every run (`config.deterministic`).

    Returns:
      None, XLA's defaults, on all but GPUs: a CPU's and a TPU's operations all give the same bits.
    """
    return dict(DETERMINISTIC) if deterministic and platform.current().name == "gpu" else None
