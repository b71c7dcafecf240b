"""Which code a figure comes from: versions, and the git revision."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import jaxft

PACKAGES = ("jax", "jaxlib", "flax", "optax")


def versions() -> dict[str, str]:
    """Of jaxft, what it computes with, and Python."""
    found = {name: metadata.version(name) for name in PACKAGES}
    return {"jaxft": jaxft.__version__, **found, "python": sys.version.split()[0]}


def revision() -> str:
    """The git revision of this code, "-dirty" where it was changed; else the package's version."""
    file = Path(jaxft.__file__)

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(file.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)  # or it is another project's checkout
        return git("describe", "--always", "--abbrev=40", "--exclude=*", "--dirty")
    except (OSError, subprocess.CalledProcessError):
        return jaxft.__version__
