"""Contact sheets: images with their true and predicted classes and the probabilities of both."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Int
from PIL import Image, ImageDraw, ImageFont

from jaxft.data.images.memory import Images
from jaxft.data.images.unreadable import UnreadableImage
from jaxft.report.answers.examples import Examples
from jaxft.runtime import paths
from jaxft.runtime.paths import AnyPath

COLUMNS, ROWS = 6, 4
TILE, GAP, LINE, LETTERS = 160, 12, 15, 11  # pixels
PAPER, INK, RIGHT, WRONG = "#ffffff", "#222222", "#1a7f37", "#b42318"
FONT = "fonts/ttf/DejaVuSans.ttf"  # Matplotlib's own


def save_sheet(
    path: AnyPath, examples: Examples, order: Int[np.ndarray, " n"], images: Images
) -> None:
    """Draw the first examples of an order into a PNG file, COLUMNS beside each other."""
    chosen = [int(index) for index in order[: COLUMNS * ROWS]]
    drawn = sheet(examples, chosen, [_square(images, index) for index in chosen])
    paths.write(path, lambda file: drawn.save(file, "PNG"))


def sheet(
    examples: Examples, chosen: Sequence[int], squares: Sequence[np.ndarray | None]
) -> Image.Image:
    """Draw examples with captions; a missing image (None) is left blank."""
    rows = max(-(-len(chosen) // COLUMNS), 1)
    height = TILE + 3 * LINE + GAP
    size = (COLUMNS * (TILE + GAP) + GAP, rows * (height + GAP) + GAP)
    paper = Image.new("RGB", size, PAPER)
    draw, font = ImageDraw.Draw(paper), _font()
    for place, (index, square) in enumerate(zip(chosen, squares, strict=True)):
        row, column = divmod(place, COLUMNS)
        left, top = GAP + column * (TILE + GAP), GAP + row * (height + GAP)
        if square is not None:
            tile = Image.fromarray(square).resize((TILE, TILE), Image.Resampling.LANCZOS)
            paper.paste(tile, (left, top))
        for number, (text, colour) in enumerate(_caption(examples, index)):
            at = (left, top + TILE + 3 + number * LINE)
            draw.text(at, _fitting(text, font), colour, font)
    return paper


def _caption(examples: Examples, index: int) -> list[tuple[str, str]]:
    """Lines of a caption and their colours: the predicted class, the true one, the file."""
    name, true, predicted, p_true, p_predicted, _ = examples.row(index)
    if true == predicted:
        return [(f"{predicted} {p_predicted:.2f}", RIGHT), (Path(name).name, INK)]
    return [
        (f"said {predicted} {p_predicted:.2f}", WRONG),
        (f"is {true} {p_true:.2f}", INK),
        (Path(name).name, INK),
    ]


def _fitting(text: str, font: ImageFont.FreeTypeFont) -> str:
    """Return the text, shortened at its end to the width of a tile, with no line break."""
    text = " ".join(text.encode(errors="replace").decode().split())
    shown = text
    while font.getlength(shown) > TILE and text:
        text = text[:-1]
        shown = text + "…"
    return shown


def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), FONT)), LETTERS)


def _square(images: Images, index: int) -> np.ndarray | None:
    """The middle of an image; None where it can be read no longer."""
    try:
        return images.canvas(index)
    except UnreadableImage:
        return None
