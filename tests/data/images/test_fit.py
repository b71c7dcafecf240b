"""Images of any aspect as squares: cropped, squashed or padded."""

import numpy as np
import pytest
import tiny_config
from PIL import Image

from jaxft.config import load
from jaxft.data.images.decode import ORIENTATION_TAG, UPRIGHT
from jaxft.data.images.file import decode
from jaxft.data.images.resize import MAX_ASPECT, resize
from jaxft.data.images.sizing import PADDING, Sizing, canvas_size
from jaxft.data.sources.arrays import array_split
from jaxft.materials import reading
from jaxft.materials.data import open_data
from jaxft.report import augment_preview
from jaxft.runtime.console import Console
from jaxft.training.probe.opened import how

SIZES = [(375, 500), (500, 375), (40, 300), (64, 64), (9, 7), (30, 900), (1, 400)]
SIDE = 50


def noise(height, width):
    return np.random.default_rng(height * width).integers(40, 216, (height, width, 3), np.uint8)


def pillow(image, height, width):
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def near(found, wanted, levels=2):
    return found.shape == wanted.shape and np.abs(found.astype(int) - wanted).max() <= levels


def sized(fit, side=SIDE):
    return Sizing(side, fit=fit)


@pytest.mark.parametrize("size", SIZES)
def test_squashed_is_all_of_an_image(size):
    image = noise(*size)
    assert near(resize(image, sized("squash")), pillow(image, SIDE, SIDE))


@pytest.mark.parametrize("size", SIZES)
def test_padded_is_all_of_an_image_in_the_middle_of_gray(size):
    image = noise(*size)
    found = resize(image, sized("pad"))
    assert found.shape == (SIDE, SIDE, 3) and found.dtype == np.uint8
    height, width = (max(1, int(SIDE * length / max(size) + 0.5)) for length in size)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    inside = np.s_[top : top + height, left : left + width]
    assert near(found[inside], pillow(image, height, width))
    found[inside] = PADDING
    assert (found == PADDING).all()


@pytest.mark.parametrize("fit", ["squash", "pad"])
def test_there_is_nothing_to_choose_from(fit):
    image = noise(40, 300)
    whole = resize(image, sized(fit))
    for share in (0.0, 0.5, 0.99):
        np.testing.assert_array_equal(resize(image, sized(fit), share), whole)


def test_the_ends_of_a_long_image_are_kept():
    image = np.zeros((10, 10 * MAX_ASPECT * 3, 3), np.uint8)
    image[:, -10 * MAX_ASPECT :] = 200
    assert (resize(image, sized("crop")) == 0).all()
    for fit in ("squash", "pad"):
        assert (resize(image, sized(fit))[SIDE // 2, -SIDE // 4 :] == 200).all()


def stored_as(orientation, image):
    """The pixels of a file that is upright once it is turned as its orientation says."""
    turn = UPRIGHT.get(orientation, lambda pixels: pixels)
    every = [np.rot90(one, number) for one in (image, image[::-1]) for number in range(4)]
    (found,) = (one for one in every if np.array_equal(turn(one), image))
    return np.ascontiguousarray(found)


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(90, 121), (121, 90)])
def test_turned_files_lie_where_upright_ones_do(tmp_path, fit, orientation, size):
    image = np.full((*size, 3), 200, np.uint8)
    image[: size[0] // 3, : size[1] // 2] = 90  # no symmetry leaves it as it is
    stored = stored_as(orientation, image)
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(decode(tmp_path / "a.png"), image)
    assert near(decode(tmp_path / "a.png", sized(fit), 0.3), resize(image, sized(fit), 0.3))


@pytest.mark.parametrize("fit", ["squash", "pad"])
@pytest.mark.parametrize("size", [(200, 1600), (1600, 200)])
def test_what_a_jpeg_decoder_shrinks_itself_is_large_enough(tmp_path, fit, size):
    image = pillow(noise(size[0] // 6, size[1] // 6), *size)
    Image.fromarray(image).save(tmp_path / "a.jpg", quality=95)
    found = decode(tmp_path / "a.jpg", sized(fit))
    assert np.abs(found.astype(int) - resize(image, sized(fit))).mean() < 2


def test_pixels_in_an_array_fit_too():
    pixels = noise(20, 60)[None]
    split = array_split("x", pixels, np.zeros(1, np.int32))
    np.testing.assert_array_equal(split.read(0, sized("pad")), resize(pixels[0], sized("pad")))


@pytest.fixture
def long_photos(tmp_path):
    """Two classes of eight images, 20 x 60 pixels."""
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(8):
            image = Image.fromarray(noise(20, 60 + number))
            image.save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


def settings_of(folder, fit, memory_gb=-1.0):
    config = tiny_config.get_config(folder)
    config.model.name, config.data.interpolation = "resnet18", "bilinear"
    config.data.fit, config.data.memory_gb = fit, memory_gb
    return load.read(config)


@pytest.mark.parametrize("memory_gb", [-1.0, 0.0])
def test_training_reads_as_the_config_says(long_photos, memory_gb):
    side = canvas_size(32)
    canvases = {}
    for fit in ("crop", "squash", "pad"):
        settings = settings_of(long_photos, fit, memory_gb)
        _, train, _ = reading.read_images(settings, 32, open_data(settings), Console(None))
        file = train.split.names[0]
        np.testing.assert_array_equal(train.canvas(0), decode(file, sized(fit, side), 0.5))
        canvases[fit] = train.canvas(0, 0.5)
        assert train[0].shape[0] == side and (train[0].shape[1] > side) == (fit == "crop")
    assert len({canvas.tobytes() for canvas in canvases.values()}) == 3
    assert (canvases["pad"][0] == PADDING).all()


def test_a_preview_shows_what_training_sees(long_photos, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(augment_preview, "_sheet", lambda columns, *_: seen.append(columns[0]))
    monkeypatch.setattr(augment_preview, "save_figure", lambda *_: None)
    for fit in ("crop", "pad"):
        settings = settings_of(long_photos, fit)
        augment_preview.make(settings, open_data(settings), tmp_path / "x.png", 2, views=0)
    gray = np.abs(seen[1][:, 0] - PADDING / 255) < 0.01
    assert gray.all() and np.abs(seen[0][:, 0] - PADDING / 255).max() > 0.05


def test_bodies_of_a_probe_share_images_of_one_fit_alone(long_photos):
    one, other = (how(settings_of(long_photos, fit)) for fit in ("crop", "pad"))
    assert one != other and one == how(settings_of(long_photos, "crop"))
