"""The network of this folder for PyTorch: timm's body and jaxft's head, as one module.

    from head import create_model

    model = create_model("path/of/this/folder").eval()
    logits = model(images)  # float32 [batch, 3, height, width], normalised

Needs torch, timm and safetensors. The body alone is `timm.create_model("local-dir:FOLDER",
pretrained=True)`; it returns pooled features [batch, features].
"""

import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import timm
from safetensors.torch import load_file
from torch import nn


def create_model(folder: str, dropout: Sequence[float] = (0.0,)) -> nn.Module:
    """Return the whole network, from images to logits, with the folder's weights.

    Args:
      folder: where config.json, model.safetensors and head.safetensors lie.
      dropout: rates before each linear layer, to train on; the last holds for those after it.
    """
    body = timm.create_model(f"local-dir:{folder}", pretrained=True)
    return nn.Sequential(OrderedDict(body=body, head=load_head(folder, dropout)))


def load_head(folder: str, dropout: Sequence[float] = (0.0,)) -> nn.Module:
    """Return the head, from pooled features to logits: for each layer BatchNorm, dropout, Linear,
    and ReLU between the layers."""
    arrays = load_file(Path(folder) / "head.safetensors")
    count = sum(bool(re.fullmatch(r"linear\d+\.weight", name)) for name in arrays)
    layers = OrderedDict()
    for layer in range(count):
        width, features = arrays[f"linear{layer}.weight"].shape
        if layer:
            layers[f"relu{layer}"] = nn.ReLU()
        layers[f"bn{layer}"] = nn.BatchNorm1d(features)
        layers[f"dropout{layer}"] = nn.Dropout(dropout[min(layer, len(dropout) - 1)])
        layers[f"linear{layer}"] = nn.Linear(features, width)
    head = nn.Sequential(layers)
    head.load_state_dict(arrays)
    return head
