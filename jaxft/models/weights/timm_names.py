"""timm's names for arrays whose PyTorch original has others; ResNets have the same in both."""

import re
from collections.abc import Sequence

# jaxft's name of a body -> timm's name of the same network, where they differ. timm's own
# efficientnet_lite0 pads and normalises as PyTorch does; this one does as TensorFlow does.
ARCHITECTURES = {"efficientnet_lite0": "tf_efficientnet_lite0"}

MODULES = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
NOT_EXPANDED = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}


def efficientnet_name(original: str, repeats: Sequence[int]) -> str:
    """Return timm's name of an array: `_bn0.bias` -> `bn1.bias`.

    Args:
      original: its name in the PyTorch original.
      repeats: the number of blocks in each stage; only those of the first do not expand.
    """
    if block := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", original):
        places = [(stage, i) for stage, count in enumerate(repeats) for i in range(count)]
        stage, repeat = places[int(block[1])]
        module = (EXPANDED if stage else NOT_EXPANDED)[block[2]]
        return f"blocks.{stage}.{repeat}.{module}.{block[3]}"
    module, leaf = original.split(".")
    return f"{MODULES[module]}.{leaf}"
