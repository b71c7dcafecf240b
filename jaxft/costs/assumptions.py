"""Facts of a run that are assumed where its data or weights are not there."""

from jaxft.config.resolve import expected_size
from jaxft.config.settings import Settings
from jaxft.costs.sizes import Sizes
from jaxft.errors import UserError
from jaxft.materials.data import open_data
from jaxft.runtime.console import Console


def sizes_of(settings: Settings, examples: int | None, classes: int | None) -> Sizes:
    """Return the data set's sizes: from the command line, else the source, else the card.

    Raises:
      UserError: the source is not there, and nothing else gives its size.
    """
    try:
        dataset = None if examples and classes else open_data(settings)
    except UserError as error:
        assumed = settings.plan
        examples, classes = examples or assumed.examples, classes or assumed.classes
        if not (examples and classes):
            hint = "Without the data set, give --examples=N (training images) and --classes=N."
            raise UserError(error.title, error.offenders, hint) from None
        dataset = None
    if dataset is not None:
        valid, count = len(dataset.valid), len(dataset.classes)
        return Sizes(examples or len(dataset.train), valid, classes or count, settings.data.source)
    assert examples and classes
    data = settings.data
    fraction = 1 / data.folds if data.folds else data.valid_fraction
    valid = settings.plan.valid_examples or round(examples * fraction / (1 - fraction))
    return Sizes(examples, valid, classes, "assumed; the data set was not looked at")


def without_weights(settings: Settings, console: Console) -> Settings:
    """Return the settings with a size for images, also where the weights would have to tell it.

    Weights that would have to be fetched are left alone; the size is then the model's usual one,
    and a line says so.
    """
    if settings.data.image_size:
        return settings
    size, known = expected_size(settings)
    if not known:
        console.tell(
            f"data.image_size=0 means the weights' own size, but {settings.model.weights!r} is not "
            f"fetched for this: assuming {size} px, the usual size for {settings.model.name}. "
            "Set another with --config.data.image_size=N."
        )
    return settings.at_size(size)
