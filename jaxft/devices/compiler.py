"""Options that XLA compiles a run's programs with, beside its defaults."""

from functools import cache

import jax
from jax.sharding import Mesh, SingleDeviceSharding

from jaxft.devices import platform

Options = dict[str, bool | str]

# Options of a compilation, not flags: they act however jaxft was started, even where a backend is
# up already, and they are part of the compilation cache's key.
DETERMINISTIC: Options = {
    # No atomics: scatters are sorted first. Of cuDNN's algorithms only those that give the same
    # bits again, and of several of these the first, not the one that was fastest today.
    "xla_gpu_exclude_nondeterministic_ops": True,
    # XLA leaves Triton's matrix products aside under the option above; cuBLAS takes them.
    "xla_gpu_enable_triton_gemm": False,
    # What the autotuner measured for other programs would be taken before the first algorithm.
    "xla_gpu_per_fusion_autotune_cache_dir": "",
}

# With these the all-reduces of gradients run beside the backward pass on TPU. By default the
# compiler puts all of them into one, which waits for the last gradient and which everything then
# waits for. By its own model they cost more than they hide (bench/README.md), hence on request.
ASYNCHRONOUS: Options = {
    "xla_enable_async_all_reduce": "true",
    "xla_tpu_enable_async_collective_fusion": "true",
    "xla_tpu_enable_async_collective_fusion_fuse_all_reduce": "true",
    "xla_jf_crs_combiner_threshold_in_bytes": "1000",
}


def options(deterministic: bool, exchanging: Mesh | None = None) -> Options | None:
    """Return `jax.jit`'s `compiler_options` for a program of the current platform.

    Args:
      deterministic: only operations that give the same bits on every run (`config.deterministic`);
        a CPU's and a TPU's operations all do.
      exchanging: the devices that a train step averages its gradients over, where that should
        run beside its backward pass (`config.overlap_gradients`).

    Returns:
      None where XLA's defaults are right.
    """
    name = platform.current().name
    if name == "gpu" and deterministic:
        return dict(DETERMINISTIC)
    if name == "tpu" and exchanging is not None and exchanging.size > 1:
        return known(ASYNCHRONOUS, exchanging)
    return None


def known(wanted: Options, mesh: Mesh) -> Options:
    """Return those of the wanted options that the compiler for a mesh takes."""
    device = (mesh.local_devices or [mesh.devices.flat[0]])[0]
    return {name: value for name, value in wanted.items() if knows(name, value, device)}


@cache
def knows(name: str, value: bool | str, device: jax.Device) -> bool:
    """Try an option on a program of one number: an unknown one fails a compilation."""
    number = jax.ShapeDtypeStruct((), "float32", sharding=SingleDeviceSharding(device))
    lowered = jax.jit(lambda x: x).lower(number)
    try:
        lowered.compile(compiler_options={name: value})
    except jax.errors.JaxRuntimeError:
        return False
    return True
