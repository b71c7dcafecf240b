"""Tasks of cut-out drawings and photos: Tux Paint's stamps and Noto's colour emoji."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import folder_data
import numpy as np
from folder_data import Example, pasted
from PIL import Image, ImageDraw, ImageFont

EMOJI_FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
EMOJI_LIST = Path("/usr/share/unicode/emoji/emoji-test.txt")
EMOJI_PIXELS = 109  # the one size of that font's pictures
# Folders of stamps with their subfolders, six stamps or more in each.
THINGS = (
    "animals/birds", "animals/fish", "animals/insects", "animals/mammals/bovines",
    "animals/mammals/rodents", "clothes/hats", "food/fruit", "food/vegetables", "household/tools",
    "plants/flowers", "plants/trees", "seasonal/christmas", "seasonal/easter",
    "seasonal/halloween", "seasonal/hanukkah", "space/planets", "symbols/alphabets/asl",
    "symbols/chess", "symbols/math", "symbols/money", "symbols/music", "symbols/shapes",
    "town/flags", "town/houses", "town/monuments", "town/roadsigns", "vehicles/locomotive",
)  # fmt: skip


def held_out(files: list[Path], split: str) -> list[Path]:
    """Every fourth file for validation, the others for training."""
    return [file for i, file in enumerate(files) if (i % 4 == 3) == (split == "valid")]


def stamps_in(folder: str) -> list[Path]:
    """Every stamp in a folder and its subfolders."""
    return sorted((folder_data.STAMPS / folder).rglob("*.png"))


def paste_all(
    random: np.random.Generator, chosen: list[tuple[str, Path]], count: int
) -> Iterator[Example]:
    """So many pictures of stamps, in turn, each in a background of its own."""
    for i in range(count):
        label, file = chosen[i % len(chosen)]
        with Image.open(file) as image:
            yield label, pasted(random, image.convert("RGBA"), 0.6, 1.0)


def things(random: np.random.Generator, split: str, count: int) -> Iterator[Example]:
    """Stamps by kind, as skewed as there are stamps; those of a split are in no other."""
    chosen = [
        (folder.replace("/", "_"), file)
        for folder in THINGS
        for file in held_out(stamps_in(folder), split)
    ]
    yield from paste_all(random, chosen, count)


def animals(random: np.random.Generator, split: str, count: int) -> Iterator[Example]:
    """Animals, one in five, and other stamps."""
    others = [
        file
        for folder in folder_data.STAMP_CLASSES[1:]
        for file in stamps_in(folder)
        if "alphabets" not in file.parts
    ]
    pools = {
        label: [files[i] for i in random.permutation(len(files))]
        for label, files in (
            ("animal", held_out(stamps_in("animals"), split)),
            ("other", held_out(others, split)),
        )
    }
    labels = ["other", "other", "animal", "other", "other"]
    wanted = [labels[i % len(labels)] for i in range(count)]
    taken = {label: wanted.count(label) for label in pools}
    for label, pool in pools.items():
        yield from paste_all(random, [(label, file) for file in pool], taken[label])


@cache
def emoji_groups() -> dict[str, list[str]]:
    """Characters by Unicode's group: those of one code point, without flags (three)."""
    groups: dict[str, list[str]] = {}
    group = ""
    for line in EMOJI_LIST.read_text().splitlines():
        if line.startswith("# group:"):
            group = line.partition(":")[2].strip().lower().replace(" & ", "_").replace(" ", "_")
        codes = [code for code in line.partition(";")[0].split() if code != "FE0F"]
        if group != "flags" and "; fully-qualified" in line and len(codes) == 1:
            groups.setdefault(group, []).append(chr(int(codes[0], 16)))
    return groups


def emoji(random: np.random.Generator, split: str, count: int) -> Iterator[Example]:
    """Emoji by Unicode's groups, as skewed as these are; each character is in one split."""
    font = ImageFont.truetype(str(EMOJI_FONT), EMOJI_PIXELS)
    chosen = [
        (group, character)
        for group, characters in emoji_groups().items()
        for i, character in enumerate(characters)
        if (i % 4 == 3) == (split == "valid")
    ]
    chosen = [chosen[i] for i in random.permutation(len(chosen))]
    for i in range(count):
        group, character = chosen[i % len(chosen)]
        cut = Image.new("RGBA", (136, 128))
        ImageDraw.Draw(cut).text((0, 0), character, font=font, embedded_color=True)
        yield group, pasted(random, cut.crop(cut.getbbox()), 0.6, 1.0)
