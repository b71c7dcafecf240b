"""HEIC: decoded by the extra `heif`, and named with its extra where that is missing."""

import numpy as np
import pytest
from PIL import Image

from jaxft.data.images import heif
from jaxft.data.images.decode import decode_bytes
from jaxft.data.images.file import decode
from jaxft.data.images.names import is_image_name
from jaxft.data.images.sizing import Sizing
from jaxft.data.images.unreadable import UnreadableImage
from jaxft.data.sources.files import image_files
from jaxft.data.sources.left_out import left_out_in_words
from jaxft.data.sources.registry import open_dataset
from jaxft.errors import UserError

pillow_heif = pytest.importorskip("pillow_heif")
HINT = "pip install 'jaxft[heif]'"


def picture(mode="RGB"):
    """A smooth picture that no symmetry of the square maps to itself, 120 x 160."""
    y, x = np.mgrid[0:120, 0:160].astype(float)
    pixels = np.stack([x * 1.5, y * 2, 60 + 0.5 * x + 0.7 * y], -1).clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def save(path, image, **options):
    pillow_heif.from_pillow(image).save(path, quality=95, **options)
    return path


def close(found, wanted, levels=3):
    return found.shape == wanted.shape and np.abs(found.astype(int) - wanted).mean() < levels


@pytest.fixture
def missing(monkeypatch):
    monkeypatch.setattr(heif, "installed", lambda: False)
    heif.register.cache_clear()


@pytest.mark.parametrize("name", ["a.heic", "A.HEIF", "mistaken.jpg"])
def test_it_is_decoded_whatever_its_name(tmp_path, name):
    found = decode(save(tmp_path / "x.heic", picture()).rename(tmp_path / name))
    assert found.dtype == np.uint8 and found.flags.c_contiguous and found.flags.writeable
    assert close(found, np.asarray(picture()))
    assert is_image_name("IMG_0001.HEIC") and not is_image_name(".heic")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_turned_upright_once(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = picture()
    heif.register()
    image.save(tmp_path / "a.heic", "HEIF", quality=95, exif=exif.tobytes())
    found = decode(tmp_path / "a.heic")
    turned = np.asarray(image.transpose(TURNS[orientation]) if orientation > 1 else image)
    assert close(found, turned)


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def test_size_and_fit_are_as_of_other_images(tmp_path):
    path = save(tmp_path / "a.heic", picture())
    assert decode(path, Sizing(60)).shape == (60, 80, 3)
    assert decode(path, Sizing(60), 0.5).shape == (60, 60, 3)
    assert decode(path, Sizing(60, fit="pad")).shape == (60, 60, 3)


def test_alpha_lies_on_white_and_of_several_images_the_main_one_counts(tmp_path):
    clear = picture("RGBA")
    clear.putalpha(0)
    assert close(decode(save(tmp_path / "a.heic", clear)), np.full((120, 160, 3), 255))
    several = pillow_heif.from_pillow(picture())
    several.add_from_pillow(Image.new("RGB", (160, 120), "red"))
    several.save(tmp_path / "b.heic", quality=95, primary_index=0)
    assert close(decode(tmp_path / "b.heic"), np.asarray(picture()))


def test_too_large_an_image_is_refused_by_its_header(tmp_path, monkeypatch):
    path = save(tmp_path / "a.heic", picture())
    heif.register()
    monkeypatch.setattr(Image.OPEN["HEIF"][0], "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(UnreadableImage, match="160 x 120 pixels, the limit is 19199"):
        decode_bytes(path.read_bytes(), "a.heic", Sizing(max_pixels=160 * 120 - 1))


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.6, 0.9, 0.99])
def test_what_is_cut_off_is_refused(tmp_path, share):
    whole = save(tmp_path / "a.heic", picture()).read_bytes()
    with pytest.raises(UnreadableImage):
        decode_bytes(whole[: int(len(whole) * share)], "a.heic")


def test_avif_is_left_to_pillow(tmp_path):
    picture().save(tmp_path / "a.avif", quality=95)
    data = (tmp_path / "a.avif").read_bytes()
    assert not heif.is_heif(data) and close(decode(tmp_path / "a.avif"), np.asarray(picture()))
    assert not heif.is_heif(b"\0\0\0\x18ftypmif1\0\0\0\0avifmif1")
    assert not heif.is_heif(b"") and not heif.is_heif(b"\0\0\0\x18ftypisom")


def test_without_the_extra_a_file_is_named_with_it(tmp_path, missing):
    save(tmp_path / "a.jpg.heic", picture()).rename(tmp_path / "a.jpg")
    with pytest.raises(UnreadableImage) as error:
        decode(tmp_path / "a.jpg")
    assert HINT in error.value.reason
    assert not is_image_name("a.heic")


def test_without_the_extra_files_are_counted(tmp_path, missing):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(5):
            picture().save(tmp_path / name / f"{number}.png")
    (tmp_path / "a" / "1.heic").write_bytes(b"")
    (tmp_path / "b" / "2.HEIC").write_bytes(b"")
    told = left_out_in_words(open_dataset(f"folder:{tmp_path}"))
    assert told.startswith("left out: 2 files") and f"2 .heic ({HINT})" in told
    warnings: list[str] = []
    assert len(image_files([str(tmp_path)], warnings.append)) == 10
    assert warnings == [f"left out in {tmp_path}: 2 .heic ({HINT})"]
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "1.heic").write_bytes(b"")
    for fail in (
        lambda: image_files([str(tmp_path / "only")]),
        lambda: open_dataset(f"folder:{tmp_path}"),
    ):
        with pytest.raises(UserError) as error:
            fail()
        assert f"1 .heic ({HINT})" in error.value.offenders[0]
