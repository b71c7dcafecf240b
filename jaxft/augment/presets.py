"""Presets: sets of strengths that a config names."""

import dataclasses

from jaxft.augment.augmentation import Augmentation

_NONE = Augmentation(
    preset="none",
    rotate_degrees=0.0,
    rotate_probability=0.0,
    max_zoom=1.0,
    zoom_probability=0.0,
    perspective_probability=0.0,
    flip=False,
    brightness=0.0,
    contrast=0.0,
    lighting_probability=0.0,
)


PRESETS = {
    "none": _NONE,
    "side_on": Augmentation(),
    "top_down": Augmentation(preset="top_down", dihedral=True),
    "fastai2": Augmentation(
        preset="fastai2",
        perspective=0.2,
        lighting="logit",
        brightness=0.2,
        contrast=0.2,
        lighting_probability=0.75,
    ),
    "imagenet": dataclasses.replace(_NONE, preset="imagenet", crop_min_area=0.08, flip=True),
}


def beneath_policy(preset: Augmentation) -> Augmentation:
    """Leave out what a policy does instead: rotation, perspective and lighting."""
    return dataclasses.replace(
        preset, rotate_degrees=0.0, perspective=0.0, brightness=0.0, contrast=0.0
    )
