"""Tasks of tiles: from which picture does a tile come? Its regions are in one split only."""

import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from folder_data import Example
from PIL import Image

BACKGROUNDS = Path("/usr/share/backgrounds")
PHOTOGRAPHS = (
    "Bridge_by_Sander_Klootwijk", "Dragonfly_by_Bolly", "Picture_0B_by_freespace",
    "Picture_1A_by_freespace", "Wine_by_Jakkub_Mede", "aitzgorri_by_Aitzol_Berasategi",
    "free_by_Peter_Nerlich", "friends_by_Aitzol_Berasategi", "greentock_by_Peter_Nerlich",
    "life_by_Aitzol_Berasategi", "picosdeeuropa_by_Aitzol_Berasategi",
    "seeding_by_Clements_Engelhardt", "sunset_by_Aitzol_Berasategi", "umang_by_Abhishek_Mudgal",
    "mate/nature/Aqua", "mate/nature/Blinds", "mate/nature/Dune", "mate/nature/FreshFlower",
    "mate/nature/Garden", "mate/nature/GreenMeadow", "mate/nature/LadyBird",
    "mate/nature/RainDrops", "mate/nature/Storm", "mate/nature/TwoWings", "mate/nature/Wood",
    "mate/nature/YellowFlower",
)  # fmt: skip
SURFACES = (
    "brick.png", "camera.png", "cell.png", "chelsea.png", "coffee.png", "coins.png", "grass.png",
    "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "page.png", "retina.jpg",
    "rocket.jpg", "text.png",
)  # fmt: skip
BLOCKS = 4  # a picture's rows and columns of regions


def photographs(random: np.random.Generator, split: str, count: int) -> Iterator[Example]:
    """Tiles of wallpapers."""
    files = [BACKGROUNDS / f"{name}.jpg" for name in PHOTOGRAPHS]
    yield from cut_tiles(random, split, count, files, 800)


def surfaces(random: np.random.Generator, split: str, count: int) -> Iterator[Example]:
    """Gray tiles of scikit-image's pictures: stone, grass, tissue, print, stars."""
    files = [surfaces_folder() / name for name in SURFACES]
    for label, tile in cut_tiles(random, split, count, files, 512):
        yield label, tile.convert("L").convert("RGB")


def surfaces_folder() -> Path:
    """Folder of scikit-image's pictures; it need not be imported for them."""
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        raise FileNotFoundError("scikit-image is not installed")
    return Path(found.origin).parent / "data"


def cut_tiles(
    random: np.random.Generator, split: str, count: int, files: list[Path], side: int
) -> Iterator[Example]:
    """Tiles of every file in turn, after its shorter side is made `side` pixels.

    The regions for validation are one in each row and column.
    """
    for i in range(count):
        picture = shrunk(files[i % len(files)], side)
        row, column = random.integers(0, BLOCKS, 2)
        while ((row + 2 * column) % BLOCKS == 1) != (split == "valid"):
            row, column = random.integers(0, BLOCKS, 2)
        width, height = picture.width / BLOCKS, picture.height / BLOCKS
        edge = random.uniform(0.5, 1.0) * min(width, height)
        left = column * width + random.uniform(0, width - edge)
        top = row * height + random.uniform(0, height - edge)
        box = tuple(int(n) for n in (left, top, left + edge, top + edge))
        tile = picture.crop(box).resize((160, 160), Image.Resampling.BICUBIC)
        yield files[i % len(files)].stem, lit(random, tile)


def lit(random: np.random.Generator, tile: Image.Image) -> Image.Image:
    """The tile in another light: gain and offset, so that its mean does not tell the picture."""
    gain, offset = random.uniform(0.5, 1.3), random.uniform(-60, 60)
    pixels = (np.asarray(tile, float) - 128) * gain + 128 + offset
    return Image.fromarray(np.clip(pixels, 0, 255).astype("u1"))


@cache
def shrunk(file: Path, side: int) -> Image.Image:
    """The picture, in RGB."""
    with Image.open(file) as image:
        image = image.convert("RGB")
        scale = side / min(image.size)
        size = tuple(round(n * scale) for n in image.size)
        return image.resize(size, Image.Resampling.LANCZOS)
