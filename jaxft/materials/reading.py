"""Reading of the images for steps, features and validation."""

from collections.abc import Callable
from dataclasses import replace

from jaxft.config.settings import Settings
from jaxft.data import Dataset
from jaxft.data.images.loading import GO_ON, Leniency, load_images
from jaxft.data.images.memory import Images
from jaxft.errors import Interrupted
from jaxft.features.inference import make_forward
from jaxft.materials.materials import NEVER, Materials
from jaxft.runtime import hosts
from jaxft.runtime.ballot import Stop
from jaxft.runtime.console import Console
from jaxft.runtime.paths import AnyPath

REMOVE = "Fix or remove them."  # outside a run
BRING_BACK = "They were readable before. Restore them; the same command then resumes."


def read_images(
    settings: Settings,
    image_size: int,
    dataset: Dataset,
    console: Console,
    cache_dir: AnyPath | None = None,
    stop: Stop = NEVER,
    advice: str = GO_ON,
    warn: Callable[[str], None] | None = None,
) -> tuple[Dataset, Images, Images]:
    """Load the images as the settings say, at an image size in pixels, with progress.

    `warn` gets the warning about images that are skipped; None: the console does.

    Raises:
      UserError: unreadable images.
      Interrupted: a stop was requested.
    """
    data = settings.data
    with console.bar(len(dataset.train) + len(dataset.valid), "reading images") as bar:

        def count(done: int, _: int) -> None:
            bar.update(done * hosts.count() - bar.n)
            if stop.asked or stop.is_set():
                raise Interrupted

        return load_images(
            dataset,
            data.sizing(image_size),
            leniency=Leniency(data.skip_bad, warn or console.say, advice),
            memory_bytes=None if data.memory_gb < 0 else int(data.memory_gb * 2**30),
            cache_dir=cache_dir,
            progress=count,
            workers=data.threads or None,
        )


def at_size(materials: Materials, image_size: int) -> Materials:
    """Materials with images of `image_size` pixels, read now; those of another size are dropped.

    Raises:
      UserError, Interrupted: as `read_images`.
    """
    if image_size == materials.image_size:
        return materials
    for images in (materials.train_images, materials.valid_images):
        images.forget()
    settings, console = materials.settings, materials.console
    console.say(f"\nfrom here on, images are {image_size} px")
    # All of them were whole before: one that is so no more ends the run, whose examples stay.
    strict = replace(settings, data=replace(settings.data, skip_bad=False))
    _, train, valid = read_images(
        strict,
        image_size,
        materials.dataset,
        console,
        materials.cache_dir,
        materials.stop,
        BRING_BACK,
    )
    forward = make_forward(
        materials.model, settings.augment, image_size, materials.mesh, settings.deterministic
    )
    return materials._replace(
        image_size=image_size,
        forward=forward,
        train_images=train,
        valid_images=valid,
    )
