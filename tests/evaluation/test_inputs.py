"""Images as callers give them: one or several, and what is wrong with them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxft.data.images.resize import resize
from jaxft.data.images.sizing import Sizing
from jaxft.data.images.unreadable import UnreadableImage
from jaxft.evaluation.inputs import given, inputs_split

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)


@pytest.mark.parametrize(
    "image", ["a.jpg", Path("a.jpg"), Image.new("L", (2, 2)), PIXELS, b"GIF", 3, None]
)
def test_one_image_is_one(image):
    images, alone = given(image)
    assert alone and images == [image]


@pytest.mark.parametrize(
    "images",
    [
        ["a.jpg", "b.jpg"],
        ("a.jpg", "b.jpg"),
        (name for name in ("a.jpg", "b.jpg")),
        np.array(["a.jpg", "b.jpg"]),
        np.array(["a.jpg", "b.jpg"], object),
    ],
)
def test_whatever_can_be_walked_through_is_several(images):
    assert given(images) == (["a.jpg", "b.jpg"], False)


def test_images_are_called_by_their_file_or_their_place():
    assert inputs_split(given([PIXELS, Path("b.jpg"), "c.jpg"])).names == (
        "images[0]",
        "b.jpg",
        "c.jpg",
    )
    assert inputs_split(given(PIXELS)).names == ("the image",)


def read(image, *how):
    return inputs_split(given(image)).read(0, *how)


@pytest.mark.parametrize("share", [None, 0.5])
def test_arrays_are_resized_as_files_are(tmp_path, share):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "gray.png")
    how = Sizing(24, "bicubic"), share
    assert (read(PIXELS, *how) == resize(PIXELS, *how)).all()
    assert (read(PIXELS, *how) == read(tmp_path / "a.png", *how)).all()
    assert (read(PIXELS[..., 0], *how) == read(tmp_path / "gray.png", *how)).all()
    assert (read(PIXELS[::-1, ::-1], *how) == read(PIXELS[::-1, ::-1].copy(), *how)).all()


def test_a_home_is_found(tmp_path, monkeypatch):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert (read("~/a.png") == PIXELS).all()


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (PIXELS / np.float32(255), r"it is float32 from 0 to 1$"),
        (PIXELS.astype(np.int64) - 9, r"it is int64 from -9 to 246$"),
        (PIXELS > 3, r"it is bool$"),
        (PIXELS.transpose(2, 0, 1), r"its shape is \[3, 40, 50\]$"),
        (PIXELS[None], r"its shape is \[1, 40, 50, 3\]$"),
        (PIXELS[..., :1] / 2, r"its shape is \[40, 50, 1\] and it is float64 from 0 to 127.5$"),
        (PIXELS[:0], r"its shape is \[0, 50, 3\]$"),
        (np.zeros((0, 2)), r"its shape is \[0, 2\] and it is float64$"),
        (b"GIF", "bytes is no image"),
        (None, "NoneType is no image"),
    ],
)
def test_what_is_no_image_says_why(image, reason):
    with pytest.raises(UnreadableImage, match=reason):
        read(image)
