"""180,000 furniture photos in 128 classes with ResNeXt-101 64x4d: the recipe's own example.

Data: a folder per class under photos/train and photos/valid (iMaterialist Furniture 2018, whose
training classes are skewed and validation classes balanced).
Expected: not measured yet.
Weights: torchvision's (IMAGENET1K_V1), from timm/resnext101_64x4d.tv_in1k on the Hugging Face hub;
without a connection, model.weights=file:PATH with that file or resnext101_64x4d-173b62eb.pth.
Planned (no device, no data): jaxft plan --config=furniture_resnext101 --topology=v5e:2x4
Command, on a TPU v5e-8 or a GPU of 80 GB and more (59 GiB of one's memory, which is all that JAX
takes of 80 GB by itself: XLA_CLIENT_MEM_FRACTION=0.9 leaves room); on a smaller GPU with
--config.data.batch_size or --config.phases.full.microbatches, by the table in docs/gpu.md:
  jaxft train --config=furniture_resnext101 --workdir=runs/furniture \\
    --config.data.source=folder:photos
"""

from ml_collections import ConfigDict

from jaxft.configs import base


def get_config() -> ConfigDict:
    """The eight steps as the lesson gives them, at 224 pixels."""
    config = base.get_config()
    config.data.source = "folder:photos"
    config.data.image_size = 224
    config.data.batch_size = 512
    config.model.name = "resnext101_64x4d"
    config.model.weights = "tv_in1k"
    config.model.dtype = "bfloat16"
    config.plan.examples = 180_000
    config.plan.valid_examples = 6_400
    config.plan.classes = 128
    config.phases = (
        # Steps 1 to 3: last layer from precomputed activations, at the rate found.
        base.phase(name="head_cached", inputs="cached", lr="find", epochs=2),
        # Step 4: last layer with augmentation, cycle_len=1.
        base.phase(name="head_augmented", lr="previous", schedule="sgdr", cycles=3, cycle_epochs=1),
        # Steps 5 to 8: everything, each group at a tenth of the next one's rate, cycle_mult=2.
        base.phase(
            name="full",
            groups={"early": 0.01, "late": 0.1, "head": 1.0},
            lr="find",
            schedule="sgdr",
            warmup_epochs=1,
            cycles="until_overfit",
            max_cycles=5,
            cycle_epochs=1,
            cycle_mult=2,
        ),
    )
    return config
