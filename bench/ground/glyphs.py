"""Tasks of type: letters in many fonts, and scripts by their characters."""

import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from folder_data import Example, background
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

FONTS = Path("/usr/share/fonts")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# bench/README.md names Debian's packages of these fonts. Every fourth face is for validation.
FACES = (
    "AccanthisADFStd-Regular.otf", "BebasNeue-Regular.otf", "BerenisADFPro-Regular.otf",
    "Breip.ttf", "Cabin-Regular.otf", "Caladea-Regular.ttf", "Cantarell-Light.otf",
    "Delphine.ttf", "Comfortaa-Regular.ttf", "Domestic_Manners.ttf", "Dosis-ExtraLight.otf",
    "Isabella.ttf", "Dustismo.ttf", "Dustismo_Roman.ttf", "EBGaramond12-Regular.otf",
    "Wargames.ttf", "Ecolier-court.ttf", "FreeMono.ttf", "Gentium-R.ttf", "Junkyard.ttf",
    "Humor-Sans.ttf", "Inconsolata.otf", "It_wasn_t_me.ttf", "Z003-MediumItalic.otf",
    "Lato-Hairline.ttf", "LiberationSerif-Regular.ttf", "LinBiolinum_R.otf", "Winks.ttf",
    "LobsterTwo-Regular.otf", "MarkedFool.ttf", "NimbusSansNarrow-Regular.otf", "SteveHand.ttf",
    "OldStandard-Regular.ttf", "OpenSans-CondLight.ttf", "PenguinAttack.ttf", "Balker.ttf",
    "Play-Regular.ttf", "Quicksand-Light.ttf", "Roboto-Black.ttf", "lobster.otf",
    "TomsonTalks.ttf", "URWBookman-Demi.otf", "URWGothic-Book.otf", "dkg.ttf",
)  # fmt: skip
# As the names of their characters begin, and as fonts-noto-core names their fonts.
SCRIPTS = (
    "Armenian", "Avestan", "Balinese", "Bamum", "Batak", "Bengali", "Brahmi", "Buginese", "Carian",
    "Chakma", "Cham", "Cherokee", "Coptic", "Deseret", "Devanagari", "Elbasan", "Ethiopic",
    "Georgian", "Glagolitic", "Gothic", "Gujarati", "Gurmukhi", "Hebrew", "Javanese", "Kannada",
    "Kharoshthi", "Khmer", "Lao", "Lepcha", "Lycian", "Malayalam", "Mandaic", "Myanmar", "Ogham",
    "Osmanya", "Runic", "Sinhala", "Tamil", "Thaana", "Tifinagh", "Vai",
)  # fmt: skip


def letters(random: np.random.Generator, split: str, count: int) -> Iterator[Example]:
    """Capitals; a font is in one split only."""
    faces = [face for i, face in enumerate(FACES) if (i % 4 == 3) == (split == "valid")]
    for i in range(count):
        letter = LETTERS[i % len(LETTERS)]
        yield letter, printed(random, font_file(faces[random.integers(len(faces))]), letter)


def scripts(random: np.random.Generator, split: str, count: int) -> Iterator[Example]:
    """Groups of four letters of a script; a letter is in one split only."""
    for i in range(count):
        script = SCRIPTS[i % len(SCRIPTS)]
        pool = letters_of(script)
        pool = [c for n, c in enumerate(pool) if (n % 4 == 3) == (split == "valid")]
        text = "".join(pool[n] for n in random.integers(0, len(pool), 4))
        yield script.lower(), printed(random, script_font(script), f"{text[:2]}\n{text[2:]}")


@cache
def font_file(name: str) -> Path:
    """A font's file, wherever its package has put it."""
    found = sorted(FONTS.rglob(name))
    if not found:
        raise FileNotFoundError(f"no font {name} in {FONTS}")
    return found[0]


def script_font(script: str) -> Path:
    """Noto's font of a script."""
    return font_file(f"NotoSans{script}-Regular.ttf")


@cache
def letters_of(script: str) -> list[str]:
    """The first 60 characters in its font that Unicode names as letters or syllables of it."""
    covered = TTFont(script_font(script)).getBestCmap()
    prefix = script.upper()
    starts = (f"{prefix} LETTER", f"{prefix} CAPITAL LETTER", f"{prefix} SYLLABLE")
    found = [c for c in map(chr, sorted(covered)) if unicodedata.name(c, "").startswith(starts)]
    return found[:60]


def printed(random: np.random.Generator, file: Path, text: str) -> Image.Image:
    """Text at a random size, place and angle, in ink and on paper of random colours and noise."""
    paper = background(random)
    ink = Image.new("L", (400, 400))
    size = int(random.integers(90, 150))
    font = ImageFont.truetype(str(file), size, layout_engine=ImageFont.Layout.BASIC)
    ImageDraw.Draw(ink).text((200, 200), text, fill=255, font=font, anchor="mm", align="center")
    ink = ink.rotate(random.uniform(-20, 20), Image.Resampling.BICUBIC)
    ink = ink.crop(ink.getbbox() or (0, 0, 400, 400))
    room = min(p / i for p, i in zip(paper.size, ink.size, strict=True))
    scale = random.uniform(0.45, 0.9) * room
    ink = ink.resize([max(1, round(n * scale)) for n in ink.size], Image.Resampling.BILINEAR)
    corner = [int(random.integers(0, p - i + 1)) for p, i in zip(paper.size, ink.size, strict=True)]
    dark = np.asarray(paper).mean() > 128
    colour = random.integers(0, 80, 3) if dark else random.integers(175, 256, 3)
    paper.paste(tuple(int(c) for c in colour), tuple(corner), ink)
    return paper
