"""Figures: drawn without pyplot and its list of open ones, shown by a notebook, saved as files."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from matplotlib.figure import Figure

from jaxft.runtime import paths
from jaxft.runtime.paths import AnyPath

DPI = 110


class Picture(Figure):
    """A figure that a notebook shows as the value of a cell, whether or not it imports pyplot."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        with odd_signs():
            self.savefig(content, dpi=DPI, format="png")
        return content.getvalue()


def save_figure(figure: Figure, path: AnyPath) -> None:
    """Write a figure in the format of the file's suffix (PNG without one)."""
    kind = path.suffix[1:] or "png"
    with odd_signs():
        paths.write(path, lambda file: figure.savefig(file, dpi=DPI, format=kind))


@contextmanager
def odd_signs() -> Iterator[None]:
    """Draw names whose signs no font has as boxes; the warning would hold the signs themselves."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield
