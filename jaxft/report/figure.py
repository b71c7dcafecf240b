"""Figures as files."""

from matplotlib.figure import Figure

from jaxft.runtime import paths
from jaxft.runtime.paths import AnyPath


def save_figure(figure: Figure, path: AnyPath) -> None:
    """Write a figure in the format of the file's suffix (PNG without one)."""
    kind = path.suffix[1:] or "png"
    paths.write(path, lambda file: figure.savefig(file, dpi=110, format=kind))
