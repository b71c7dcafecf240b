"""The eight steps in seconds: `--config=tests/support/tiny_config.py:FOLDER` (see tiny_body)."""

from jaxft.configs import base


def get_config(folder):
    config = base.get_config()
    config.data.source = f"folder:{folder}"
    config.data.image_size = 32
    config.data.batch_size = 8
    config.data.valid_fraction = 0.3
    config.data.threads = 2
    config.model.name = "tiny"
    config.model.weights = "none"
    config.model.hidden = (8,)
    config.model.dropout = (0.1, 0.1)
    config.finder.steps = 24
    config.finder.lo = 1e-4
    config.phases = (
        base.phase(name="head_cached", inputs="cached", lr="find", epochs=2),
        base.phase(name="head_augmented", lr="previous", schedule="sgdr", cycles=2),
        base.phase(
            name="full",
            groups={"early": 0.1, "late": 0.3, "head": 1.0},
            lr="find",
            schedule="sgdr",
            cycles="until_overfit",
            max_cycles=2,
            cycle_mult=2,
        ),
    )
    return config
