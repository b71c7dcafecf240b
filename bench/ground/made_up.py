"""Tasks that are drawn: how many objects there are, and cells under a microscope."""

from collections.abc import Iterator

import numpy as np
from folder_data import Example, background
from PIL import Image, ImageDraw, ImageFilter

SIDE = 192  # pixels of a picture of cells
MOST = 8  # objects to be counted


def counts(random: np.random.Generator, split: str, count: int) -> Iterator[Example]:
    """One to eight shapes of one kind that do not touch, of any size and colour."""
    for i in range(count):
        number = i % MOST + 1
        yield str(number), shapes(random, number)


def shapes(random: np.random.Generator, number: int) -> Image.Image:
    """So many triangles, squares, ... or discs."""
    picture = background(random)
    draw = ImageDraw.Draw(picture)
    corners = int(random.choice([3, 4, 5, 6, 40]))
    colour = tuple(int(c) for c in random.integers(0, 256, 3))
    edge = "white" if sum(colour) < 384 else "black"
    for x, y, radius in places(random, picture.size, number, 0.05, 0.13):
        turn = random.uniform(0, 360)
        draw.regular_polygon((x, y, radius), corners, turn, fill=colour, outline=edge, width=2)
    return picture


def places(
    random: np.random.Generator, size: tuple[int, int], number: int, low: float, high: float
) -> list[tuple[float, float, float]]:
    """Centres and radii (shares of the shorter side) of circles that do not touch."""
    found: list[tuple[float, float, float]] = []
    while len(found) < number:
        radius = random.uniform(low, high) * min(size)
        x, y = (random.uniform(radius, n - radius) for n in size)
        if all(np.hypot(x - a, y - b) > 1.1 * (radius + r) for a, b, r in found):
            found.append((x, y, radius))
    return found


def cells(random: np.random.Generator, split: str, count: int) -> Iterator[Example]:
    """Pale cells with a nucleus; in three of ten pictures some have a parasite, too."""
    for i in range(count):
        ill = i % 10 < 3
        yield "infected" if ill else "healthy", smear(random, ill)


def smear(random: np.random.Generator, ill: bool) -> Image.Image:
    """Five to eight cells out of focus, in gray, with grain."""
    level, depth = random.uniform(150, 220), random.uniform(20, 60)
    picture = Image.new("L", (SIDE, SIDE), int(level))
    draw = ImageDraw.Draw(picture)
    circles = places(random, picture.size, int(random.integers(5, 9)), 0.1, 0.14)
    infected = int(random.integers(2, 5)) if ill else 0
    for i, (x, y, radius) in enumerate(circles):
        disc(draw, x, y, radius, level - depth)
        dx, dy = random.uniform(-0.3, 0.3, 2) * radius
        disc(draw, x + dx, y + dy, 0.35 * radius, level - 2 * depth)
        if i < infected:
            angle = random.uniform(0, 2 * np.pi)
            dx, dy = 0.7 * radius * np.cos(angle), 0.7 * radius * np.sin(angle)
            disc(draw, x + dx, y + dy, 0.22 * radius, level - 2.5 * depth)
    # A speck of dust lies between cells, of a parasite's size, in either class.
    for x, y in random.uniform(0, SIDE, (int(random.integers(0, 6)), 2)):
        if all(np.hypot(x - a, y - b) > 1.2 * r for a, b, r in circles):
            disc(draw, x, y, 5, level - 2.5 * depth)
    soft = picture.filter(ImageFilter.GaussianBlur(random.uniform(0.5, 1.5)))
    grain = np.asarray(soft) + random.normal(0, random.uniform(3, 10), (SIDE, SIDE))
    return Image.fromarray(np.clip(grain, 0, 255).astype("u1")).convert("RGB")


def disc(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, gray: float) -> None:
    """Draws one, at least black."""
    fill = int(max(0, gray))
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
