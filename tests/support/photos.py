"""Two real photos that scikit-learn carries, made square by Pillow."""

from importlib.resources import files

import numpy as np
from PIL import Image

PHOTOS = ("china.jpg", "flower.jpg")
SIZE = 224


def photo(name: str) -> np.ndarray:
    """RGB pixels, uint8 [224, 224, 3]: the middle square, resized."""
    image = Image.open(str(files("sklearn.datasets") / "images" / name)).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box))
