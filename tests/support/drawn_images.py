"""Folders of small drawn images: classes differ by colour, images by noise and size."""

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"blue": (50, 80, 200), "green": (60, 190, 80), "red": (200, 60, 50)}


def draw(path: Path, colour: tuple[int, int, int], seed: int) -> None:
    """One PNG of about 40 x 40 pixels."""
    rng = np.random.default_rng(seed)
    height, width = 36 + rng.integers(0, 10, 2)
    pixels = np.asarray(colour) + rng.normal(0, 60, (height, width, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def draw_folder(root: Path, per_class: int = 14, classes: tuple[str, ...] = tuple(COLOURS)) -> Path:
    """ROOT/CLASS/NUMBER.png; returns ROOT."""
    for place, name in enumerate(classes):
        for number in range(per_class):
            draw(root / name / f"{number:02d}.png", COLOURS[name], 1000 * place + number)
    return root
