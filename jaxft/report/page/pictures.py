"""Pictures inside the page, as `data:` addresses, small enough for it."""

import base64
import io
from collections.abc import Mapping
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

MOST_BYTES = 700_000  # of one picture; four of them, in base64, are 3.7 MB
WIDTHS = (1400, 1000, 700, 400)  # to which a larger one is shrunk
QUALITY = 80
CAPTIONS = {
    "most_wrong": "The most wrong: the largest losses",
    "least_sure": "The least sure: the lowest probability of the predicted class",
    "surest_right": "The surest of those that are right",
    "confusion": "Confusion matrix",
}


class Picture(NamedTuple):
    """A picture in the page, of `width` x `height` pixels."""

    caption: str
    source: str
    width: int
    height: int


def pictures(found: Mapping[str, bytes]) -> dict[str, Picture]:
    """Return name -> picture, of those that can be read."""
    made = {name: _picture(CAPTIONS[name], content) for name, content in found.items()}
    return {name: picture for name, picture in made.items() if picture}


def _picture(caption: str, content: bytes) -> Picture | None:
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            size = image.size
            kind, small = ("png", content) if len(content) <= MOST_BYTES else _shrunk(image)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
    source = f"data:image/{kind};base64,{base64.b64encode(small).decode()}"
    return Picture(caption, source, *size)


def _shrunk(image: Image.Image) -> tuple[str, bytes]:
    """Return a JPEG of at most MOST_BYTES, or the smallest that is tried."""
    plain = Image.new("RGB", image.size, "white")
    plain.paste(image.convert("RGBA"), mask=image.convert("RGBA").getchannel("A"))
    for width in WIDTHS:
        plain.thumbnail((width, plain.height))
        file = io.BytesIO()
        plain.save(file, "JPEG", quality=QUALITY, optimize=True)
        if file.tell() <= MOST_BYTES:
            break
    return "jpeg", file.getvalue()
