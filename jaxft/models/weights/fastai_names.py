"""fastai's names for the arrays of a ResNet or ResNeXt, and torchvision's for them."""

import re
from collections.abc import Mapping

import numpy as np

# A block of the ResNeXt that fastai 0.7 brought along, within which modules have numbers only.
FASTAI_RESNEXT_MODULES = {
    "0.0.0.0": "conv1",
    "0.0.0.1": "bn1",
    "0.0.0.3": "conv2",
    "0.0.0.4": "bn2",
    "0.0.1": "conv3",
    "0.0.2": "bn3",
    "0.1.0": "downsample.0",
    "0.1.1": "downsample.1",
}
FASTAI_MODULES = {"0": "conv1", "1": "bn1", **{str(n + 3): f"layer{n}" for n in (1, 2, 3, 4)}}


def named_as_torchvision(arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Rename a ResNet's or ResNeXt's arrays as torchvision does, where fastai numbered the modules.

    fastai 0.7 saves the body's children as 0 to 7 and its head after them; fastai 1 and 2 save
    them as 0.0 to 0.7 with the head under 1. The head is left out.

    Source: fastai 0.7's models/resnext_101_64x4d.py and conv_learner.py (ConvnetBuilder).
    """
    if {"0.0.weight", "0.1.weight"} <= arrays.keys():
        arrays = {k.removeprefix("0."): v for k, v in arrays.items() if k.startswith("0.")}
    if not {"0.weight", "1.weight"} <= arrays.keys():
        return arrays
    return {
        _fastai_name(key): value
        for key, value in arrays.items()
        if not (key.split(".")[0].isdecimal() and int(key.split(".")[0]) > 7)
    }


def _fastai_name(key: str) -> str:
    child, _, rest = key.partition(".")
    name = FASTAI_MODULES.get(child)
    if name is None:
        return key
    if block := re.fullmatch(r"(\d+)\.((?:\d+\.)*\d+)\.(\w+)", rest):
        number, module, leaf = block.groups()
        return f"{name}.{number}.{FASTAI_RESNEXT_MODULES.get(module, module)}.{leaf}"
    return f"{name}.{rest}"
