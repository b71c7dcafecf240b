"""Oxford-IIIT Pets: 37 breeds of cats and dogs, with EfficientNet-Lite0 at 224 px.

Data: tfds:oxford_iiit_pet (3,680 images to train, of which a fifth of each breed validates by
split seed 42; 3,669 to test), which TensorFlow Datasets downloads and builds once.
Expected: not measured yet; no run of this card has been made.
Command: jaxft train --config=pets --workdir=runs/pets
         jaxft evaluate --workdir=runs/pets --split=test
"""

from ml_collections import ConfigDict

from jaxft.configs import base


def get_config() -> ConfigDict:
    """The recipe for a near domain: ImageNet knows these breeds, so the body learns slowly."""
    config = base.get_config()
    config.data.source = "tfds:oxford_iiit_pet"
    config.data.image_size = 224
    config.data.batch_size = 32
    config.data.valid_fraction = 0.2
    config.finder.lo = 1e-5
    config.plan.examples = 2_944
    config.plan.valid_examples = 736
    config.plan.classes = 37
    config.phases = (
        base.phase(name="head_cached", inputs="cached", lr="find", epochs=3),
        base.phase(name="head_augmented", lr="previous", schedule="sgdr", cycles=2, cycle_epochs=1),
        base.phase(
            name="full",
            groups={"early": 0.01, "late": 0.1, "head": 1.0},
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
