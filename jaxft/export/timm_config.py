"""timm's config.json of an exported model."""

from typing import Any

from jaxft.export.subject import Subject
from jaxft.models.bodies import efficientnet_lite
from jaxft.models.weights.timm_names import ARCHITECTURES

REDUCTION = 32  # pixels of the image for one of the last features, of every body
CROP_MODES = {"crop": "center", "squash": "squash", "pad": "border"}


def classifier(name: str) -> str:
    """Return timm's name for the last layer of a body's network."""
    return "classifier" if name in efficientnet_lite.BODIES else "fc"


def config(subject: Subject) -> dict[str, Any]:
    """Return what `timm.create_model("local-dir:...")` builds the network and its transform from.

    With a head that timm has no name for, it is the body alone, which returns pooled features.
    """
    name = subject.model.name
    plain = not subject.settings.model.hidden
    pooling = "avg" if subject.model.pooling == "avg" else "catavgmax"
    classes = len(subject.classes) if plain else 0
    return {
        "architecture": ARCHITECTURES.get(name, name),
        "num_classes": classes,
        "num_features": subject.model.body.channels,
        "global_pool": pooling,
        "label_names": list(subject.classes),
        "model_args": {"global_pool": pooling},
        "pretrained_cfg": {**_transform(subject), **_facts(subject), "num_classes": classes},
    }


def _transform(subject: Subject) -> dict[str, Any]:
    """Return how an image gets the image size with nothing more cut off, in timm's words.

    The run shrinks a file to the canvas, and the canvas bilinearly to the view. Of timm's filters
    for doing both at once the bilinear one is nearest, also where the first step is bicubic
    (bench/export_torch.py measures it).
    """
    expected, size = subject.model.preprocessing, subject.image_size
    return {
        "input_size": [3, size, size],
        "fixed_input_size": False,
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": CROP_MODES[subject.fit],
        "mean": [value / 255 for value in expected.mean],
        "std": [value / 255 for value in expected.std],
    }


def _facts(subject: Subject) -> dict[str, Any]:
    name = subject.model.name
    first = "conv_stem" if name in efficientnet_lite.BODIES else "conv1"
    side = -(-subject.image_size // REDUCTION)
    told = {"pool_size": [side, side], "first_conv": first, "classifier": classifier(name)}
    return {**told, **{key: subject.origin[key] for key in ("license",) if key in subject.origin}}
