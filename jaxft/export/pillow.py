"""Lines of Python by which a program without jaxft makes a canvas of an image."""

from jaxft.export.subject import Subject

CALLS = {
    "crop": "ImageOps.fit(image, {size}, {filter})",
    "squash": "image.resize({size}, {filter})",
    "pad": "ImageOps.pad(image, {size}, {filter}, color=(128, 128, 128))",
}


def shrunk(subject: Subject) -> str:
    """Return an expression for a Pillow `image` at the canvas's size, as the run fits images."""
    size = f"({subject.canvas}, {subject.canvas})"
    by = f"Image.Resampling.{subject.settings.data.interpolation.upper()}"
    return CALLS[subject.fit].format(size=size, filter=by)
