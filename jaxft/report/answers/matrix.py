"""The confusion matrix as a picture."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from jaxft.report.figure import Picture

NAMED = 60  # classes up to which rows and columns have names
COUNTED = 25  # classes up to which cells have numbers


def draw(matrix: Int[np.ndarray, "classes classes"], classes: Sequence[str]) -> Picture:
    """Draw a confusion matrix: rows are true classes, colours the shares of a row."""
    count = len(classes)
    side = min(max(0.32 * count + 2.2, 4.5), 16)
    figure = Picture(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true")
    if count <= NAMED:
        axes.set_xticks(range(count), labels=[shortened(name) for name in classes], rotation=90)
        axes.set_yticks(range(count), labels=[shortened(name) for name in classes])
        axes.tick_params(labelsize=8, length=0)
    if count <= COUNTED:
        for (row, column), number in np.ndenumerate(matrix):
            if number:
                colour = "white" if shares[row, column] > 0.6 else "black"
                axes.text(column, row, str(number), ha="center", va="center", color=colour, size=7)
    axes.spines[:].set_visible(False)
    return figure


def shortened(name: str, letters: int = 18) -> str:
    """Return a class's name, as Matplotlib should print it, of at most so many letters."""
    plain = name if len(name) <= letters else f"{name[: letters - 1]}…"
    return plain.replace("$", r"\$")
