"""Options that XLA's compiler is given for a step, where the platform's compiler knows them."""

from functools import cache

import jax
from jax.sharding import Mesh, SingleDeviceSharding

from jaxft.models import platform

# On TPU the all-reduces of gradients run beside the backward pass. By default the compiler puts
# all of them into one, which waits for the last gradient and which everything then waits for.
# bench/README.md has what each of them does.
TPU = {
    "xla_enable_async_all_reduce": "true",
    "xla_tpu_enable_async_collective_fusion": "true",
    "xla_tpu_enable_async_collective_fusion_fuse_all_reduce": "true",
    "xla_jf_crs_combiner_threshold_in_bytes": "1000",
}


def options(mesh: Mesh) -> dict[str, str]:
    """The options for a program on a mesh of several devices: those of TPU that are known there."""
    if platform.current().name != "tpu" or mesh.size == 1:
        return {}
    device = (mesh.local_devices or [mesh.devices.flat[0]])[0]
    return {name: value for name, value in TPU.items() if knows(name, value, device)}


@cache
def knows(name: str, value: str, device: jax.Device) -> bool:
    """Whether the compiler for a device takes an option: an unknown one fails a compilation."""
    number = jax.ShapeDtypeStruct((), "float32", sharding=SingleDeviceSharding(device))
    lowered = jax.jit(lambda x: x).lower(number)
    try:
        lowered.compile(compiler_options={name: value})
    except jax.errors.JaxRuntimeError:
        return False
    return True
