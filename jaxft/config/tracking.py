"""Experiment trackers that `config.track` may name, and the packages that they need."""

import importlib.util
import os
from collections.abc import Iterator

from jaxft.runtime import paths

# The extra that brings a package has the tracker's name.
PACKAGES = {
    "tensorboard": "tensorboardX",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "trackio": "trackio",
}


def names(track: str) -> tuple[str, ...]:
    """Return the names that `config.track` gives, each once."""
    given = (name.strip() for name in track.split(","))
    return tuple(dict.fromkeys(name for name in given if name))


def unknown(track: str) -> Iterator[str]:
    """Yield a message if there are names that no tracker has."""
    wrong = [repr(name) for name in names(track) if name not in PACKAGES]
    if wrong:
        yield f"track names {', '.join(wrong)}; known: {', '.join(PACKAGES)}"


def missing(track: str, workdir: str | os.PathLike[str]) -> Iterator[str]:
    """Yield a message for each known tracker that cannot record a run in this workdir."""
    for name in names(track):
        if name in PACKAGES and importlib.util.find_spec(PACKAGES[name]) is None:
            yield f"track: {name} needs {PACKAGES[name]}: pip install 'jaxft[{name}]'"
    if "mlflow" in names(track) and paths.is_remote(workdir) and not mlflow_uri():
        yield f"track: mlflow cannot keep its database in {workdir}; set MLFLOW_TRACKING_URI"


def mlflow_uri() -> str:
    """Return the store or server that MLflow's own variable names, or ""."""
    return os.environ.get("MLFLOW_TRACKING_URI", "")
