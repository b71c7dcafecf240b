"""Fashion-MNIST with EfficientNet-Lite0 at 48 px: 60,000 small gray images, a quarter of an hour.

Data: MNIST's four files of Fashion-MNIST, packed or not, in one folder (Debian's and Ubuntu's
package dataset-fashion-mnist; or github.com/zalandoresearch/fashion-mnist, data/fashion). A tenth
of the training images validates (split seed 42); the 10,000 test images are left to the end.
Expected: test accuracy 0.937 (mean of three seeds, bench/README.md), in 20 minutes on one core.
Command: jaxft train --config=fashion_mnist --workdir=runs/fashion_mnist
         jaxft evaluate --workdir=runs/fashion_mnist --split=test
Elsewhere than in Debian's folder, add --config.data.source=idx:DIR to the first.
"""

from ml_collections import ConfigDict

from jaxft.configs import folder_many


def get_config() -> ConfigDict:
    """The phases of many photos: Fashion-MNIST's garments are as far from ImageNet as digits."""
    config = folder_many.get_config()
    config.data.source = "idx:/usr/share/datasets/fashion-mnist"
    config.data.image_size = 48  # of 28: the body halves an image five times
    config.data.valid_fraction = 0.1
    config.plan.examples = 54_000
    config.plan.valid_examples = 6_000
    config.plan.classes = 10
    return config
