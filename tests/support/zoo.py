"""Image files of every kind that data sets hold, each with the pixels that it should give.

The pixels are computed from what was drawn, without the decoder that is tested.
"""

import io
import struct
import zlib
from typing import Any, NamedTuple

import numpy as np
import simplejpeg
from PIL import Image

SIDE = 20_000  # of the images that are too large
HEIGHT, WIDTH = 48, 64
ORIENTATION = 0x0112


class Specimen(NamedTuple):
    """A file's name and content; `pixels` is None where no image can be had from it.

    `levels` is how far the pixels may be off in the mean: 0 for lossless formats.
    """

    name: str
    data: bytes
    pixels: np.ndarray | None
    levels: float = 0.0


def picture() -> np.ndarray:
    """Smooth colours that no symmetry of the square maps to themselves, uint8 [48, 64, 3]."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)
    channels = [x * 3.8, y * 5, 60 + 1.2 * x + 1.6 * y]
    return np.stack(channels, -1).clip(0, 255).astype(np.uint8)


def encoded(pixels: np.ndarray, format: str, mode: str | None = None, **options: object) -> bytes:
    """A file of an image that Pillow writes."""
    file = io.BytesIO()
    Image.fromarray(pixels, mode).save(file, format, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png(size: tuple[int, int], colour: int, bits: int, lines: bytes, *others: bytes) -> bytes:
    """A PNG file of (width, height), of lines that begin with their filter's number."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, 0))
    image = chunk(b"IDAT", zlib.compress(lines))
    return b"".join([b"\x89PNG\r\n\x1a\n", header, *others, image, chunk(b"IEND", b"")])


def sixteen_bit_png(values: np.ndarray) -> bytes:
    """uint16 [height, width, channels]; gray, gray and alpha, RGB or RGBA."""
    height, width, channels = values.shape
    lines = values.astype(">u2").reshape(height, -1).view(np.uint8)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), lines], 1)
    return png((width, height), {1: 0, 2: 4, 3: 2, 4: 6}[channels], 16, lines.tobytes())


def sixteen_bit_tiff(values: np.ndarray) -> bytes:
    """uint16 [height, width, 3], uncompressed."""
    height, width, channels = values.shape
    bits_at = 8
    pixels_at = bits_at + 2 * channels
    pixels = values.astype("<u2").tobytes()
    tags = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, channels, bits_at),
        (259, 3, 1, 1),  # no compression
        (262, 3, 1, 2),  # RGB
        (273, 4, 1, pixels_at),
        (277, 3, 1, channels),
        (278, 3, 1, height),
        (279, 4, 1, len(pixels)),
    ]
    table = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = b"II*\0" + struct.pack("<I", pixels_at + len(pixels))
    return head + struct.pack("<3H", 16, 16, 16) + pixels + table + bytes(4)


def giant_jpeg() -> bytes:
    """A small JPEG of which the header says 20,000 x 20,000."""
    data = bytearray(encoded(picture(), "jpeg"))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", SIDE, SIDE)
    return bytes(data)


def stored(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels as a camera stores upright ones, by EXIF's definition of each orientation."""
    first_row_is_bottom = orientation in (3, 4)
    first_column_is_right = orientation in (2, 3)
    if orientation < 5:
        flipped = pixels[::-1] if first_row_is_bottom else pixels
        return flipped[:, ::-1] if first_column_is_right else flipped
    # Rows and columns change places: the stored row 0 is the visual left (5, 8: see below).
    row_0_is_right, column_0_is_bottom = orientation in (6, 7), orientation in (7, 8)
    turned = pixels[:, ::-1] if row_0_is_right else pixels
    turned = turned[::-1] if column_0_is_bottom else turned
    return turned.transpose(1, 0, 2)


def _turned() -> list[Specimen]:
    upright = picture()
    found = []
    options: dict[str, dict[str, Any]] = {
        "jpeg": {"quality": 95},
        "png": {},
        "webp": {"lossless": True},
        "tiff": {},
    }
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        pixels = np.ascontiguousarray(stored(upright, orientation))
        for format, how in options.items():
            data = encoded(pixels, format, exif=exif, **how)
            levels = 2.0 if format == "jpeg" else 0.0
            found.append(Specimen(f"exif {orientation}.{format}", data, upright, levels))
    return found


def _jpegs() -> list[Specimen]:
    colours = picture()
    gray = colours[..., 2]
    ink = 255 - colours
    black = np.minimum(ink.min(2, keepdims=True), 60)
    cmyk = np.concatenate([ink, black], 2)
    seen = ((255 - cmyk[..., :3].astype(float)) * (255 - black) / 255).round().astype(np.uint8)
    found = [
        Specimen("gray.jpg", encoded(gray, "jpeg", quality=95), np.stack([gray] * 3, 2), 2),
        Specimen("rgb.jpg", encoded(colours, "jpeg", quality=95, keep_rgb=True), colours, 2),
        Specimen(
            "progressive.jpg", encoded(colours, "jpeg", quality=95, progressive=1), colours, 2
        ),
        Specimen("cmyk.jpg", encoded(cmyk, "jpeg", "CMYK", quality=95), seen, 2),
        # libjpeg's conversion takes ink as Adobe stores it, inverted.
        Specimen("ycck.jpg", simplejpeg.encode_jpeg(255 - cmyk, 95, "CMYK"), seen, 2),
        Specimen("junk after the end.jpg", encoded(colours, "jpeg", quality=95) + b"x", colours, 2),
    ]
    for sampling in ("444", "422", "420", "440", "411"):
        data = simplejpeg.encode_jpeg(colours, 95, colorsubsampling=sampling)
        found.append(Specimen(f"{sampling}.jpg", data, colours, 3))
    file = io.BytesIO()
    other = Image.fromarray(colours[::-1])
    Image.fromarray(colours).save(file, "mpo", save_all=True, append_images=[other], quality=95)
    return [*found, Specimen("two.mpo", file.getvalue(), colours, 2)]


def _deep() -> list[Specimen]:
    deep = np.round(picture().astype(float) * 257).astype(np.uint16)
    gray = deep[..., 2:]
    grays = np.repeat(picture()[..., 2:], 3, 2)
    clear = np.full_like(gray, 65535)
    clear[:, :9] = 0
    white = picture()
    white[:, :9] = 255
    return [
        Specimen("gray 16.png", sixteen_bit_png(gray), grays),
        Specimen("gray 16.tif", encoded(gray[..., 0], "tiff"), grays),
        Specimen("colour 16.png", sixteen_bit_png(deep), picture()),
        Specimen("colour 16.tif", sixteen_bit_tiff(deep), picture()),
        Specimen("alpha 16.png", sixteen_bit_png(np.concatenate([deep, clear], 2)), white),
    ]


def _transparent() -> list[Specimen]:
    """Clear in the first 9 columns, where white shows; a fifth opaque black in the corner."""
    colours = picture()
    alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    alpha[:, :9] = 0
    both = np.concatenate([colours, alpha], 2)
    both[0, -1] = [0, 0, 0, 51]
    seen = colours.copy()
    seen[:, :9], seen[0, -1] = 255, 204
    gray = np.stack([colours[..., 2], alpha[..., 0]], 2)
    gray_seen = np.repeat(colours[..., 2:], 3, 2)
    gray_seen[:, :9] = 255
    # A palette of four colours, the first of which is clear, the second half opaque.
    numbers = (np.arange(HEIGHT)[:, None] // 12 * np.ones(WIDTH, int)).astype(np.uint8)
    palette = np.array([[9, 9, 9], [0, 0, 0], [200, 30, 30], [30, 30, 200]], np.uint8)
    shown = palette.copy()
    shown[0], shown[1] = 255, 127
    lines = np.concatenate([np.zeros((HEIGHT, 1), np.uint8), numbers], 1).tobytes()
    size, colours_of = (WIDTH, HEIGHT), chunk(b"PLTE", palette.tobytes())
    clear = chunk(b"tRNS", bytes([0, 128]))
    image = Image.fromarray(numbers, "P")
    image.putpalette(palette.tobytes())
    gif, clear_gif = io.BytesIO(), io.BytesIO()
    image.save(gif, "gif")
    image.save(clear_gif, "gif", transparency=0)
    first_clear = palette.copy()
    first_clear[0] = 255
    return [
        Specimen("alpha.png", encoded(both, "png"), seen),
        Specimen("alpha.webp", encoded(both, "webp", lossless=True, exact=True), seen),
        Specimen("alpha.tif", encoded(both, "tiff"), seen),
        Specimen("gray alpha.png", encoded(gray, "png", "LA"), gray_seen),
        Specimen("palette.png", png(size, 3, 8, lines, colours_of), palette[numbers]),
        Specimen("clear palette.png", png(size, 3, 8, lines, colours_of, clear), shown[numbers]),
        Specimen("palette.gif", gif.getvalue(), palette[numbers]),
        Specimen("clear palette.gif", clear_gif.getvalue(), first_clear[numbers]),
    ]


def _animated() -> list[Specimen]:
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    frames = [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in colours]
    first, found = np.asarray(frames[0]), []
    for format in ("gif", "webp", "png", "tiff"):
        file = io.BytesIO()
        how = {"lossless": True} if format == "webp" else {}
        frames[0].save(file, format, save_all=True, append_images=frames[1:], **how)
        found.append(Specimen(f"animated.{format}", file.getvalue(), first))
    return found


def _odd_sizes() -> list[Specimen]:
    found = []
    for height, width in ((1, 1), (1, 3000), (3000, 1)):
        pixels = np.full((height, width, 3), (10, 200, 30), np.uint8)
        for format in ("png", "webp", "gif", "jpeg"):
            levels = {"jpeg": 2.0}.get(format, 0.0)
            how: dict[str, Any] = {"lossless": True} if format == "webp" else {}
            data = encoded(pixels, format, **how)
            found.append(Specimen(f"{height} x {width}.{format}", data, pixels, levels))
    return found


def _misnamed() -> list[Specimen]:
    colours = picture()
    return [
        Specimen("a png.jpg", encoded(colours, "png"), colours),
        Specimen("a webp.jpg", encoded(colours, "webp", lossless=True), colours),
        Specimen("a bmp.jpeg", encoded(colours, "bmp"), colours),
        Specimen("a jpeg.png", encoded(colours, "jpeg", quality=95), colours, 2),
    ]


def _named() -> list[Specimen]:
    names = (
        "Ä 日本 🐈.png",
        "two  blanks .png",
        "'quotes' \"both\".png",
        "new\nline.png",
        "a;b,c.png",
    )
    data = encoded(picture(), "png")
    return [Specimen(name, data, picture()) for name in names]


def good() -> list[Specimen]:
    """All from which an image can be had."""
    kinds = (_jpegs, _turned, _deep, _transparent, _animated, _odd_sizes, _misnamed, _named)
    return [specimen for kind in kinds for specimen in kind()]


def bad() -> list[Specimen]:
    """All from which none can."""
    jpeg, whole = encoded(picture(), "jpeg", quality=95), encoded(picture(), "png")
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    return [
        Specimen("empty.jpg", b"", None),
        Specimen("page.jpg", b"<!DOCTYPE html><html>404</html>", None),
        Specimen("postscript.jpg", postscript, None),
        Specimen("only its magic number.jpg", jpeg[:3], None),
        Specimen("cut.jpg", jpeg[: len(jpeg) // 2], None),
        Specimen("without its end.jpg", jpeg[:-2], None),
        Specimen("zeros.jpg", jpeg[: len(jpeg) // 2] + bytes(len(jpeg) // 2), None),
        Specimen("cut.png", whole[: len(whole) // 2], None),
        Specimen("20,000 a side.jpg", giant_jpeg(), None),
        Specimen("20,000 a side.png", png((SIDE, SIDE), 2, 8, b""), None),
    ]


def truncatable() -> dict[str, bytes]:
    """Small files, to be cut anywhere."""
    colours = picture()
    noisy = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    return {
        "jpeg": encoded(colours, "jpeg", quality=80),
        "progressive": encoded(colours, "jpeg", quality=80, progressive=True),
        "png": encoded(colours, "png"),
        "webp": encoded(noisy, "webp", lossless=True),
        "lossy webp": encoded(colours, "webp"),
        "gif": encoded(noisy, "gif"),
        "bmp": encoded(noisy, "bmp"),
        "tiff": encoded(noisy, "tiff", compression="tiff_deflate"),
        "ppm": encoded(noisy, "ppm"),
    }
