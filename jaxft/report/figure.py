"""Figures as files."""

from matplotlib.figure import Figure

from jaxft.runtime import paths
from jaxft.runtime.paths import AnyPath


def save_figure(figure: Figure, path: AnyPath) -> None:
    """Write a plot, in the format that the file's name tells (PNG without one)."""
    kind = path.suffix[1:] or "png"
    paths.write(path, lambda file: figure.savefig(file, dpi=110, format=kind))
