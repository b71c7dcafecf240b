"""A folder of photos, classes in sub-folders, with EfficientNet-Lite0: the defaults to begin with.

Data: folder:PATH with PATH/{train,valid}/CLASS/file, or PATH/CLASS/file (20% of each class is
held out by split seed 42).
Expected: see bench/README.md, which sets it beside fastai's fine_tune(5).
Command: jaxft train --config=folder --config.data.source=folder:PATH --workdir=DIR
"""

from ml_collections import ConfigDict

from jaxft.configs import base


def get_config() -> ConfigDict:
    """The recipe with cycles of 1, 2 and 4 epochs at most, after two of the head."""
    config = base.get_config()
    config.data.batch_size = 32  # a few thousand photos need small steps rather than large batches
    config.optimizer.name = "adamw"
    config.finder.steps = 40  # half an epoch of 2,500 photos
    config.data.source = "folder:photos"
    config.data.image_size = 224
    config.phases = (
        base.phase(name="head_cached", inputs="cached", lr="find", epochs=2),
        base.phase(name="head_augmented", lr="previous", schedule="sgdr", cycles=2, cycle_epochs=1),
        base.phase(
            name="full",
            groups={"early": 1 / 3, "late": 1 / 2, "head": 1.0},
            lr="find",
            schedule="sgdr",
            warmup_epochs=1,
            cycles="until_overfit",
            max_cycles=3,
            cycle_epochs=1,
            cycle_mult=2,
        ),
    )
    return config
