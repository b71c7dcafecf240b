"""Oxford Flowers 102: ten photos of each flower to learn from, with EfficientNet-Lite0 at 224 px.

Data: tfds:oxford_flowers102 (1,020 images to train, 1,020 to validate, 6,149 to test), which
TensorFlow Datasets downloads and builds once.
Expected: not measured yet; no run of this card has been made.
Command: jaxft train --config=flowers102 --workdir=runs/flowers102
         jaxft evaluate --workdir=runs/flowers102 --split=test
"""

from ml_collections import ConfigDict

from jaxft.configs import base


def get_config() -> ConfigDict:
    """The recipe with more epochs of the head than usual: an epoch has only 31 steps."""
    config = base.get_config()
    config.data.source = "tfds:oxford_flowers102"
    config.data.image_size = 224
    config.data.batch_size = 32
    config.finder.lo = 1e-5
    config.plan.examples = 1_020
    config.plan.valid_examples = 1_020
    config.plan.classes = 102
    config.phases = (
        base.phase(name="head_cached", inputs="cached", lr="find", epochs=10),
        base.phase(name="head_augmented", lr="previous", schedule="sgdr", cycles=3, cycle_epochs=2),
        base.phase(
            name="full",
            groups={"early": 1 / 9, "late": 1 / 3, "head": 1.0},
            lr="find",
            schedule="sgdr",
            warmup_epochs=1,
            cycles="until_overfit",
            max_cycles=4,
            cycle_epochs=2,
            cycle_mult=2,
        ),
    )
    return config
