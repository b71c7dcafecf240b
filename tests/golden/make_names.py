"""Make names.json: a digest of the names and shapes in each original's state dict.

    python tests/golden/make_names.py

Needs torch, torchvision, timm (for resnext101_32x4d, and its own names of EfficientNet-Lite0) and
efficientnet-lite-pytorch.
"""

import hashlib
import json
from pathlib import Path

import timm
import torch
import torchvision
from efficientnet_lite_pytorch import EfficientNet

HERE = Path(__file__).parent
TORCHVISION = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"),
)


def digest(model: torch.nn.Module) -> str:
    """Digest of the sorted lines "name (shape)"."""
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    lines = [f"{name} {shape}" for name, shape in shapes.items() if "num_batches" not in name]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def main() -> None:
    with torch.device("meta"):
        models = {name: getattr(torchvision.models, name)() for name in TORCHVISION}
        for name in ("resnext101_32x4d", "tf_efficientnet_lite0"):
            models[name] = timm.create_model(name)
        models["efficientnet_lite0"] = EfficientNet.from_name("efficientnet-lite0")
    digests = {name: digest(model) for name, model in models.items()}
    (HERE / "names.json").write_text(json.dumps(digests, indent=1) + "\n")


if __name__ == "__main__":
    main()
