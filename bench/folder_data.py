"""Folders of images for bench/folder.py, made of what packages carry.

    python bench/folder_data.py --out=DIRECTORY [--train=1000] [--valid=400] [SET ...]

Sets: `garments`, Debian's package dataset-fashion-mnist, enlarged; `scenes`, the same garments
coloured and pasted at random places and sizes into noisy pictures; `digits`, scikit-learn's,
enlarged; `stamps`, the cut-out photos and drawings of Debian's package tuxpaint-stamps-default
(animals, food, plants, ...), each pasted into several pictures, its stamps either all in train or
all in valid. Writes DIRECTORY/SET/{train,valid}/CLASS/NUMBER.jpg, of 180 to 420 pixels a side.
"""

import argparse
import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

FASHION = Path("/usr/share/datasets/fashion-mnist")
STAMPS = Path("/usr/share/tuxpaint/stamps")
STAMP_CLASSES = ("animals", "food", "plants", "seasonal", "symbols", "town", "vehicles")
GARMENTS = ("tshirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker")
GARMENTS = (*GARMENTS, "bag", "boot")

Example = tuple[str, Image.Image]


def idx(name: str) -> np.ndarray:
    """A file of the MNIST family."""
    data = gzip.decompress((FASHION / f"{name}.gz").read_bytes())
    shape = np.frombuffer(data, ">i4", data[3], 4)
    return np.frombuffer(data, "u1", offset=4 + 4 * data[3]).reshape(shape)


def garments(random: np.random.Generator, split: str, count: int) -> Iterator[Example]:
    """Fashion-MNIST's pictures, white on black, enlarged."""
    prefix = "train" if split == "train" else "t10k"
    images, labels = idx(f"{prefix}-images-idx3-ubyte"), idx(f"{prefix}-labels-idx1-ubyte")
    for i in random.permutation(len(images))[:count]:
        yield GARMENTS[labels[i]], enlarged(random, images[i])


def enlarged(random: np.random.Generator, image: np.ndarray) -> Image.Image:
    """At a random size and aspect."""
    return Image.fromarray(image).resize(size(random), Image.Resampling.BICUBIC).convert("RGB")


def size(random: np.random.Generator) -> tuple[int, int]:
    """Width and height."""
    return tuple(int(n) for n in random.integers(180, 421, 2))


def background(random: np.random.Generator) -> Image.Image:
    """A smooth noisy picture."""
    width, height = size(random)
    coarse = random.integers(0, 256, (random.integers(2, 7), random.integers(2, 7), 3))
    smooth = Image.fromarray(coarse.astype("u1")).resize((width, height), Image.Resampling.BICUBIC)
    noise = random.normal(0, 20, (height, width, 1))
    return Image.fromarray(np.clip(np.asarray(smooth) + noise, 0, 255).astype("u1"))


def pasted(random: np.random.Generator, cut: Image.Image, low: float, high: float) -> Image.Image:
    """An RGBA picture at a random place and size in a background."""
    picture = background(random)
    side = random.uniform(low, high) * min(picture.size)
    scale = side / max(cut.size)
    cut = cut.resize([max(1, round(n * scale)) for n in cut.size], Image.Resampling.LANCZOS)
    room = [p - c for p, c in zip(picture.size, cut.size, strict=True)]
    picture.paste(cut, tuple(int(random.integers(0, r + 1)) for r in room), cut.getchannel("A"))
    return picture


def scenes(random: np.random.Generator, split: str, count: int) -> Iterator[Example]:
    """Garments in a random colour, cut out and pasted."""
    prefix = "train" if split == "train" else "t10k"
    images, labels = idx(f"{prefix}-images-idx3-ubyte"), idx(f"{prefix}-labels-idx1-ubyte")
    for i in random.permutation(len(images))[:count]:
        shade = images[i][..., None] / 255 * random.integers(80, 256, 3)
        cut = np.concatenate([shade, (images[i][..., None] > 20) * 255], -1).astype("u1")
        yield GARMENTS[labels[i]], pasted(random, Image.fromarray(cut, "RGBA"), 0.4, 0.8)


def digits(random: np.random.Generator, split: str, count: int) -> Iterator[Example]:
    """scikit-learn's handwritten digits, enlarged; the split is fixed."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(42).permutation(len(images))
    for i in (order[540:] if split == "train" else order[:540])[:count]:
        pixels = (images[i].reshape(8, 8) * 255 / 16).astype("u1")
        yield str(labels[i]), enlarged(random, pixels)


def stamps(random: np.random.Generator, split: str, count: int) -> Iterator[Example]:
    """Tux Paint's stamps; every fourth of a class is for validation."""
    chosen = []
    for name in STAMP_CLASSES:
        files = sorted((STAMPS / name).rglob("*.png"))
        files = [f for i, f in enumerate(files) if (i % 4 == 3) == (split == "valid")]
        chosen += [(name, file) for file in files[:80]]
    for i in range(count):
        name, file = chosen[i % len(chosen)]
        with Image.open(file) as image:
            yield name, pasted(random, image.convert("RGBA"), 0.6, 1.0)


SETS = {"garments": garments, "scenes": scenes, "digits": digits, "stamps": stamps}


def main() -> None:
    """Writes the sets asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--train", type=int, default=1000)
    parser.add_argument("--valid", type=int, default=400)
    parser.add_argument("sets", nargs="*", default=list(SETS), metavar="SET")
    options = parser.parse_args()
    for name in options.sets:
        for number, split in enumerate(("train", "valid")):
            random = np.random.default_rng(number)
            examples = SETS[name](random, split, getattr(options, split))
            for i, (label, image) in enumerate(examples):
                folder = options.out / name / split / label
                folder.mkdir(parents=True, exist_ok=True)
                image.save(folder / f"{i:05}.jpg", quality=90)


if __name__ == "__main__":
    main()
