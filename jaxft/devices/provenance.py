"""Origin of a figure: the code, the machine and the settings that it comes from."""

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from jaxft.runtime import version

PACKAGES = ("jax", "jaxlib", "flax", "optax")
# What runs on an accelerator comes in packages of these names; no machine has all of them.
ON_DEVICE = {
    "tpu": re.compile("libtpu"),
    "gpu": re.compile(r"jax-(cuda|rocm)\d+-(plugin|pjrt)|nvidia-(cudnn|cublas)(-cu\d+)?"),
}
DRIVER = Path("/proc/driver/nvidia/version")

# Variables that change what is compiled, or how it runs; others of JAX's name addresses and places.
VARIABLES = re.compile(
    r"XLA_FLAGS|LIBTPU_INIT_ARGS|XLA_(PYTHON_)?CLIENT_\w+|NVIDIA_TF32_OVERRIDE|CUDA_VISIBLE_DEVICES|"
    r"CUDA_DEVICE_MAX_CONNECTIONS|NCCL_\w+|TF_CUDNN\w*|JAX_PLATFORMS|JAX_ENABLE_X64|JAX_TRACEBACK\w+|"
    r"JAX_DEFAULT_\w+|JAX_NUMPY_\w+|JAX_(PGLE|ENABLE_PGLE|COMPILATION_CACHE_EXPECT_PGLE)\w*|"
    r"JAX_EXEC_TIME_OPTIMIZATION_EFFORT|JAX_MEMORY_FITTING_EFFORT|JAX_OPTIMIZATION_LEVEL"
)


def versions() -> dict[str, str]:
    """Return the versions of jaxft, of what it computes with, and of Python."""
    found = {name: metadata.version(name) for name in PACKAGES}
    return {"jaxft": version.VERSION, **found, **on_device(), "python": sys.version.split()[0]}


def on_device() -> dict[str, str]:
    """Return the versions of the accelerator's libraries and driver; of a CPU none."""
    platform = jax.default_backend()
    wanted = ON_DEVICE.get(platform)
    if wanted is None:
        return {}
    packages = {
        (d.metadata["Name"] or "").lower().replace("_", "-"): d.version
        for d in metadata.distributions()
    }
    found = {name: packages[name] for name in sorted(packages) if wanted.fullmatch(name)}
    driver = driver_version() if platform == "gpu" else None
    return {**found, "driver": driver} if driver else found


def devices() -> dict[str, Any]:
    """Return platform, kind and number of the devices of all processes, and of the processes."""
    every = jax.devices()
    return {
        "platform": every[0].platform,
        "kind": every[0].device_kind,
        "count": len(every),
        "processes": jax.process_count(),
    }


def driver_version(file: Path = DRIVER) -> str | None:
    """Return the version of NVIDIA's kernel driver, as Linux states it; None without one."""
    try:
        match = re.search(r"Kernel Module.*?(\d+(?:\.\d+)+)", file.read_text())
    except OSError:
        return None
    return match[1] if match else None


def environment() -> dict[str, str]:
    """Return the set variables that affect the speed of a program or its numbers."""
    return {name: os.environ[name] for name in sorted(os.environ) if VARIABLES.fullmatch(name)}


def revision() -> str:
    """Return the git revision of this code, "-dirty" if changed; else the package's version."""
    file = Path(version.__file__)

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(file.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)  # or it is another project's checkout
        return git("describe", "--always", "--abbrev=40", "--exclude=*", "--dirty")
    except (OSError, subprocess.CalledProcessError):
        return version.VERSION
