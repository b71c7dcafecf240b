"""Resizing equals Pillow's, which its sums of few bits leave within two levels."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from jaxft.data.images.file import decode
from jaxft.data.images.resize import MAX_ASPECT, crop, resize
from jaxft.data.images.sizing import Sizing

PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def noise(height: int, width: int) -> np.ndarray:
    """Pixels far enough from black and white that no filter overshoots them."""
    return np.random.default_rng(height * width).integers(40, 216, (height, width, 3), np.uint8)


@pytest.mark.parametrize("interpolation", list(PILLOW))
@pytest.mark.parametrize("size", [(375, 500), (500, 375), (40, 300), (64, 64), (9, 7), (900, 1000)])
@pytest.mark.parametrize("shorter_side", [9, 50, 247, 64])
def test_pixels_are_pillows(size, shorter_side, interpolation):
    image = noise(*size)
    found = resize(image, Sizing(shorter_side, interpolation))
    height, width = found.shape[:2]
    assert min(height, width) == shorter_side
    wanted = Image.fromarray(image).resize((width, height), PILLOW[interpolation])
    off = np.abs(found.astype(int) - np.asarray(wanted))
    assert off.max() <= 2 and off.mean() < 0.3


def test_the_filter_is_the_one_that_is_asked_for(tmp_path):
    image = noise(40, 40)
    Image.fromarray(image).save(tmp_path / "noise.png")
    for name in PILLOW:
        found = decode(tmp_path / "noise.png", Sizing(50, name))
        np.testing.assert_array_equal(found, resize(image, Sizing(50, name)))
    assert (resize(image, Sizing(50)) == resize(image, Sizing(50, "bilinear"))).all()
    assert (resize(image, Sizing(50)) != resize(image, Sizing(50, "bicubic"))).any()


def test_it_is_antialiased():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(resize(stripes, Sizing(16)).astype(int) - 127).max() <= 20


@pytest.mark.parametrize("interpolation", list(PILLOW))
@pytest.mark.parametrize("size", [(375, 500), (500, 375), (24, 90), (9, 7), (300, 24), (64, 64)])
def test_a_square_is_cut_out_of_the_same_pixels(size, interpolation):
    image = noise(*size)
    for side in (9, 24, 100):
        whole = resize(image, Sizing(side, interpolation))
        for share in (0.0, 0.2, 0.5, 0.77, 0.999):
            found = resize(image, Sizing(side, interpolation), share)
            assert found.shape == (side, side, 3)
            np.testing.assert_array_equal(found, crop(whole, side, share))
            backwards = resize(image, Sizing(side, interpolation), share, from_end=True)
            np.testing.assert_array_equal(
                backwards, crop(whole[::-1, ::-1], side, share)[::-1, ::-1]
            )


def test_where_a_square_is_cut():
    image = np.arange(40 * 3, dtype=np.uint8).reshape(1, 40, 3).repeat(10, 0)
    for share, start in ((0, 0), (0.5, 15), (0.52, 16), (0.99, 30)):
        np.testing.assert_array_equal(crop(image, 10, share), image[:, start : start + 10])
        upright = crop(image.transpose(1, 0, 2), 10, share)
        np.testing.assert_array_equal(upright, image.transpose(1, 0, 2)[start : start + 10])


@pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
@pytest.mark.parametrize("shorter_side", [3, 31, 100])
def test_one_colour_stays_what_it_is(value, shorter_side):
    image = np.full((30, 70, 3), value, np.uint8)
    for name in PILLOW:
        assert (resize(image, Sizing(shorter_side, name)) == value).all()


def test_its_own_size_is_a_copy():
    image = noise(20, 30)
    same = resize(image, Sizing(20))
    assert same is not image and not np.shares_memory(same, image)
    np.testing.assert_array_equal(same, image)


@pytest.mark.parametrize("turned", [False, True])
def test_of_a_long_image_the_middle(turned):
    image = np.zeros((10, 10 * MAX_ASPECT * 3, 3), np.uint8)
    image[:, 10 * MAX_ASPECT : -10 * MAX_ASPECT] = 200
    found = resize(image.transpose(1, 0, 2) if turned else image, Sizing(5))
    assert max(found.shape) == 5 * MAX_ASPECT and (found == 200).all()


def test_a_large_image_is_never_widened_whole():
    image = noise(3000, 2000)
    tracemalloc.start()
    resize(image, Sizing(100, "bicubic"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < image.nbytes


def test_what_bicubic_overshoots_is_cut_off():
    edge = np.zeros((16, 16, 3), np.uint8)
    edge[:, 8:] = 255
    found = resize(edge, Sizing(64, "bicubic"))[0, :, 0].astype(int)
    assert (np.diff(found) >= 0).all() and found[0] == 0 and found[-1] == 255
