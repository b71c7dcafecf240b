"""A folder of drawn JPEG files, of a usual photo's size: smooth colours, and some noise."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from pieces.setting import Setting

SIZE, QUALITY, NOISE = (500, 375), 90, 8.0
CLASSES = ("one", "other")


def folder(setting: Setting) -> Path:
    """FOLDER/CLASS/NUMBER.jpg, drawn the first time."""
    place = Path(setting.folder, "photos")
    numbers = range(count(setting) // len(CLASSES))
    for name in CLASSES:
        (place / name).mkdir(parents=True, exist_ok=True)
    missing = [file for name in CLASSES for file in _missing(place / name, numbers)]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(draw, missing))
    return place


def count(setting: Setting) -> int:
    """Files in all."""
    return 24 if setting.tiny else 4096


def _missing(place: Path, numbers: Iterable[int]) -> list[Path]:
    files = (place / f"{number:05d}.jpg" for number in numbers)
    return [file for file in files if not file.is_file()]


def draw(file: Path) -> None:
    """One file."""
    random = np.random.default_rng([int(file.stem), CLASSES.index(file.parent.name)])
    coarse = Image.fromarray(random.integers(256, size=(12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(SIZE, Image.Resampling.BICUBIC), np.float32)
    noisy = smooth + NOISE * random.standard_normal(smooth.shape, np.float32)
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, quality=QUALITY)
