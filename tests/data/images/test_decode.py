"""Every kind of file either gives the right pixels or a reason."""

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jaxft.data.images.decode import ORIENTATION_TAG, from_pillow
from jaxft.data.images.file import decode
from jaxft.data.images.names import is_image_name
from jaxft.data.images.resize import MAX_ASPECT, crop, resize
from jaxft.data.images.sizing import MAX_PIXELS, Sizing
from jaxft.data.images.unreadable import UnreadableImage


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """A smooth picture that no symmetry of the square maps to itself."""
    y, x = np.mgrid[0:120, 0:160].astype(float)
    channels = [x * 1.5, y * 2, 60 + 0.5 * x + 0.7 * y]
    return np.stack(channels, -1).clip(0, 255).astype(np.uint8)


def save(path: Path, pixels: np.ndarray, **options) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def close(a: np.ndarray, b: np.ndarray, levels: float = 3) -> bool:
    return a.shape == b.shape and bool(np.abs(a.astype(int) - b.astype(int)).mean() < levels)


@pytest.mark.parametrize("suffix", ["png", "webp", "bmp", "tif", "ppm", "jpg", "gif"])
def test_formats(tmp_path, photo, suffix):
    by_suffix: dict[str, dict[str, Any]] = {"webp": {"lossless": True}, "jpg": {"quality": 95}}
    options = by_suffix.get(suffix, {})
    pixels = decode(save(tmp_path / f"a.{suffix}", photo, **options))
    assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous and pixels.flags.writeable
    assert close(pixels, photo, 8 if suffix == "gif" else 2)
    if suffix not in ("jpg", "gif"):
        assert (pixels == photo).all()


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, photo, orientation, suffix):
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation](photo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {} if suffix == "tif" else {"quality": 95}
    path = save(tmp_path / f"a.{suffix}", np.ascontiguousarray(stored), exif=exif, **options)
    assert close(decode(path), photo)
    assert close(decode(path, Sizing(60)), resize(photo, Sizing(60)))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_is_no_reason_to_refuse(tmp_path, photo):
    path = save(tmp_path / "a.jpg", photo, quality=95, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" * 9)
    assert close(decode(path), photo)


def test_palette_alpha_gray_and_cmyk(tmp_path, photo):
    image = Image.fromarray(photo)
    image.quantize(256).save(tmp_path / "palette.png")
    assert close(decode(tmp_path / "palette.png"), photo, 8)
    image.convert("L").save(tmp_path / "gray.jpg", quality=95)
    assert close(decode(tmp_path / "gray.jpg")[..., 0], np.asarray(image.convert("L")))
    image.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    assert close(decode(tmp_path / "cmyk.jpg"), photo)
    Image.new("1", (5, 4), 1).save(tmp_path / "bits.png")
    assert (decode(tmp_path / "bits.png") == 255).all()


def test_alpha_lies_on_white(tmp_path):
    clear = np.zeros((4, 6, 4), np.uint8)
    clear[:, :3] = [10, 20, 30, 255]
    clear[0, 5, 3] = 51  # black, a fifth opaque
    pixels = decode(save(tmp_path / "a.png", clear))
    assert (pixels[1, 0] == [10, 20, 30]).all() and (pixels[1, 5] == 255).all()
    assert (pixels[0, 5] == 204).all()
    palette = Image.new("P", (3, 3), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.save(tmp_path / "b.gif", transparency=1)
    assert (decode(tmp_path / "b.gif") == 255).all()


def test_16_bit_gray_keeps_its_tones(tmp_path):
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16)[None].repeat(4, 0)
    for name in ("a.png", "a.tif"):
        Image.fromarray(ramp).save(tmp_path / name)
        assert (decode(tmp_path / name)[0, :, 1] == np.arange(256)).all()


def test_pixels_of_unknown_scale_are_refused(tmp_path):
    Image.fromarray(np.full((3, 3), 0.5, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UnreadableImage, match="pixels of unknown scale"):
        decode(tmp_path / "a.tif")
    Image.fromarray(np.full((3, 3), 1 << 20, np.int32)).save(tmp_path / "b.tif")
    with pytest.raises(UnreadableImage, match="pixels of unknown scale"):
        decode(tmp_path / "b.tif")


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_animation_gives_its_first_frame(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    path = tmp_path / f"a.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    assert close(decode(path), np.asarray(frames[0]))


def test_content_decides_not_the_name(tmp_path, photo):
    path = save(tmp_path / "a.png", photo).rename(tmp_path / "a.jpg")
    assert (decode(path) == photo).all()


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_truncated_files_raise(tmp_path, photo, suffix):
    noise = np.random.default_rng(0).integers(0, 256, photo.shape, np.uint8)
    whole = save(tmp_path / f"a.{suffix}", noise).read_bytes()
    for share in (0.05, 0.3, 0.6, 0.9, 0.98):
        for size in (None, 30):
            path = tmp_path / f"cut.{suffix}"
            path.write_bytes(whole[: int(len(whole) * share)])
            with pytest.raises(UnreadableImage) as failure:
                decode(path, Sizing(size))
            assert str(path) in str(failure.value) and failure.value.reason


def test_no_images_are_named_with_a_reason(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    (tmp_path / "script.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (tmp_path / "folder.jpg").mkdir()
    reasons = {
        "empty.jpg": "empty file",
        "page.jpg": "not an image of a known format",
        "script.jpg": "not an image of a known format",
        "folder.jpg": "is a directory",
        "absent.jpg": "no such file or directory",
    }
    for name, reason in reasons.items():
        with pytest.raises(UnreadableImage) as failure:
            decode(tmp_path / name)
        assert failure.value.reason == reason


def test_pixel_limit_is_checked_by_the_header(tmp_path):
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    def header_only(width: int, height: int) -> bytes:
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")

    for side, limit in ((20_000, MAX_PIXELS), (500, 200_000)):
        (tmp_path / "bomb.png").write_bytes(header_only(side, side))
        with pytest.raises(UnreadableImage, match=r"too large|the limit is"):
            decode(tmp_path / "bomb.png", Sizing(max_pixels=limit))


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (7, 5), (640, 480), (481, 640)])
def test_shorter_side(tmp_path, size):
    path = tmp_path / "a.png"
    Image.new("RGB", size, (10, 200, 30)).save(path)
    pixels = decode(path, Sizing(32))
    assert min(pixels.shape[:2]) == 32 and max(pixels.shape[:2]) <= 32 * MAX_ASPECT
    assert (pixels == [10, 200, 30]).all()
    if max(size) < MAX_ASPECT * min(size):
        assert pixels.shape[1] / pixels.shape[0] == pytest.approx(size[0] / size[1], rel=0.03)


def test_scaled_decoding_equals_full_decoding(tmp_path, photo):
    large = np.asarray(Image.fromarray(photo).resize((1600, 1200)))
    path = save(tmp_path / "a.jpg", large, quality=95)
    for side in (64, 256, 599, 601):
        assert close(decode(path, Sizing(side)), resize(large, Sizing(side)), 1)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_square_alone_is_that_of_the_whole_whatever_the_orientation(
    tmp_path, photo, suffix, turned
):
    pixels = photo.transpose(1, 0, 2) if turned else photo
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ORIENTATION_TAG] = orientation
        path = save(tmp_path / f"{orientation}.{suffix}", pixels, exif=exif)
        for share in (0.1, 0.5, 0.9):
            found = decode(path, Sizing(50), share)
            np.testing.assert_array_equal(found, crop(decode(path, Sizing(50)), 50, share))
            assert found.flags.c_contiguous and found.shape == (50, 50, 3)


def test_names_of_images():
    assert all(map(is_image_name, ["a.JPG", "b.jpeg", "ü ' \".WebP", "a.b.png"]))
    assert not any(map(is_image_name, [".a.jpg", "a.txt", "jpg", "Thumbs.db", "._x.png"]))


@pytest.mark.skipif(
    os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root"
)
def test_forbidden_file(tmp_path, photo):
    path = save(tmp_path / "a.png", photo)
    path.chmod(0)
    with pytest.raises(UnreadableImage, match="permission denied"):
        decode(path)


def test_random_byte_flips_never_escape(tmp_path, photo):
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "jpeg")
    random = np.random.default_rng(1)
    path = tmp_path / "a.jpg"
    for _ in range(100):
        data = bytearray(buffer.getvalue())
        data[random.integers(len(data))] ^= 1 << random.integers(8)
        path.write_bytes(data)
        try:
            assert decode(path, Sizing(32)).shape[2] == 3
        except UnreadableImage as error:
            assert error.reason


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "RGBA", "P", "1", "I;16", "CMYK"])
def test_an_image_of_pillows_is_its_file_to_the_bit(tmp_path, photo, mode):
    image = Image.fromarray(photo)
    if mode == "I;16":
        image = Image.fromarray(photo[..., 0].astype(np.uint16) * 257)
    elif mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(photo[..., 1]))
        image = image.convert(mode)
    else:
        image = image.convert(mode)
    path = tmp_path / "a.tif"
    image.save(path)
    assert image.mode == mode
    for share in (None, 0.5):
        wanted = decode(path, Sizing(60), share)
        assert (from_pillow(image, "made", Sizing(60), share) == wanted).all()
        with Image.open(path) as opened:
            assert (from_pillow(opened, "opened", Sizing(60), share) == wanted).all()


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_opened_image_is_turned_upright_once(tmp_path, photo, orientation, fit):
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    path = save(tmp_path / "a.png", photo, exif=exif)
    for share in (None, 0.0):
        with Image.open(path) as opened:
            for _ in range(2):
                found = from_pillow(opened, "opened", Sizing(60, fit=fit), share)
                assert (found == decode(path, Sizing(60, fit=fit), share)).all()


def test_an_image_of_pillows_that_cannot_be_read_has_a_reason(tmp_path, photo):
    path = save(tmp_path / "a.png", photo)
    path.write_bytes(path.read_bytes()[:400])
    with Image.open(path) as cut, pytest.raises(UnreadableImage, match="truncated"):
        from_pillow(cut, "cut")
    with pytest.raises(UnreadableImage, match="floating-point"):
        from_pillow(Image.new("F", (4, 4)), "float")
    with pytest.raises(UnreadableImage, match="the limit is 15"):
        from_pillow(Image.new("L", (4, 4)), "large", Sizing(None, max_pixels=15))
