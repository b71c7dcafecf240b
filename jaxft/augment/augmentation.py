"""Settings of the augmentation: its strengths, and a line that tells them."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

MOST_PERSPECTIVE = 0.25  # beyond, corners show places a side outside the canvas
BINS = 31  # of a policy's magnitudes, from 0
MOST_POLICY = 4, 60  # operations, and these times their magnitude; beyond, as with perspective


@dataclass(frozen=True)
class Augmentation:
    """Strengths and kinds of the variation of training images.

    The defaults are fastai 0.7's `transforms_side_on` with `max_zoom=1.1`.

    Attributes:
      preset: name of the strengths that hold where the config gives none of its own.
      rotate_degrees: rotation is uniform in +- this, about the centre, reflecting at borders.
      rotate_probability: share of the examples that are rotated.
      max_zoom: zoom is uniform in [1, max_zoom]; the view is then cropped at a random offset.
      zoom_probability: share of the examples that are zoomed.
      perspective: the image's edges grow and shrink by up to this share, as if it were turned
        about its upright and its level axis; each uniform in +- this.
      perspective_probability: share of the examples that are turned, for each axis separately.
      crop_min_area: the view shows a rectangle of at least this share of the canvas, stretched to
        a square; 1 = no such crop.
      crop_max_ratio: of that rectangle's sides, either way.
      flip: mirror left to right half of the examples.
      dihedral: one of the 8 symmetries of the square (implies flip), for images without an up.
      lighting: pixel = brightness and contrast change the pixels, as in fastai 0.7; logit = the
        logarithm of x / (1 - x) of each pixel x, as in fastai 2.
      brightness: pixel: the number added to the pixels (0..1) is uniform in +- this; logit: a pixel
        of 0.5 becomes one of 0.5 (1 + t), t uniform in +- this.
      contrast: c is uniform in +- this; pixel: the distance from the mean grows by 1 + c, or by
        1 / (1 - c) where c < 0; logit: it is multiplied by up to 1 / (1 - contrast), or divided.
      lighting_probability: share of the examples whose brightness, and whose contrast, changes.
      erase_probability: share of the examples in which a rectangle takes the mean colour.
      erase_min_area, erase_max_area: share of the view that is erased.
      erase_max_ratio: of the erased rectangle's sides, either way.
      policy: randaugment or trivialaugment (policy.py), upon the crop, zoom and flip; instead of
        rotation, perspective and lighting of the preset.
      policy_ops: operations that RandAugment applies to each image.
      policy_magnitude: RandAugment's, of 0 to 30; for all images and operations.
      mixup_alpha, cutmix_alpha: of the beta distribution of shares (mix.py); 0 = none.
      mix_probability: share of the examples that are mixed.
      label_smoothing: share of the label that is spread evenly over all classes.
    """

    preset: Literal["none", "side_on", "top_down", "fastai2", "imagenet"] = "side_on"
    rotate_degrees: float = 10.0
    rotate_probability: float = 0.75
    max_zoom: float = 1.1
    zoom_probability: float = 0.75
    perspective: float = 0.0
    perspective_probability: float = 0.75
    crop_min_area: float = 1.0
    crop_max_ratio: float = 4 / 3
    flip: bool = True
    dihedral: bool = False
    lighting: Literal["pixel", "logit"] = "pixel"
    brightness: float = 0.05
    contrast: float = 0.05
    lighting_probability: float = 1.0
    erase_probability: float = 0.0
    erase_min_area: float = 0.02
    erase_max_area: float = 0.33
    erase_max_ratio: float = 3.3
    policy: Literal["none", "randaugment", "trivialaugment"] = "none"
    policy_ops: int = 2
    policy_magnitude: int = 9
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    mix_probability: float = 1.0
    label_smoothing: float = 0.0

    @property
    def mixes(self) -> bool:
        """True where views are mixed with those of other examples."""
        return self.mix_probability > 0 and (self.mixup_alpha > 0 or self.cutmix_alpha > 0)

    def problems(self) -> Iterator[str]:
        """Yield a message for each value that makes no sense."""
        names = [field.name for field in dataclasses.fields(self)]
        shares = ("brightness", "contrast", "crop_min_area", "erase_min_area", "erase_max_area")
        for key in (*(name for name in names if name.endswith("_probability")), *shares):
            if not 0 <= getattr(self, key) <= 1:
                yield f"augment.{key} is {getattr(self, key)}; it should be from 0 to 1"
        for key in ("max_zoom", "crop_max_ratio", "erase_max_ratio"):
            if not getattr(self, key) >= 1:
                yield f"augment.{key} is {getattr(self, key)}; it should be 1 or more"
        for key in ("rotate_degrees", "mixup_alpha", "cutmix_alpha"):
            if getattr(self, key) < 0:
                yield f"augment.{key} is {getattr(self, key)}; it should be 0 or more"
        if not 0 <= self.perspective <= MOST_PERSPECTIVE:
            yield f"augment.perspective should be from 0 to {MOST_PERSPECTIVE}"
        if not self.crop_min_area > 0:
            yield "augment.crop_min_area should be more than 0 (1 = no such crop)"
        if self.erase_min_area > self.erase_max_area:
            yield "augment: erase_min_area should be at most erase_max_area"
        if not 0 <= self.label_smoothing < 1:
            yield "augment.label_smoothing should be at least 0 and less than 1"
        for key in ("brightness", "contrast"):
            if self.lighting == "logit" and getattr(self, key) == 1:
                yield f"augment.{key} should be less than 1 with lighting='logit'"
        yield from self._problems_of_policy()

    def _problems_of_policy(self) -> Iterator[str]:
        most_ops, most_in_all = MOST_POLICY
        if not 1 <= self.policy_ops <= most_ops:
            yield f"augment.policy_ops is {self.policy_ops}; it should be from 1 to {most_ops}"
        if not 0 <= self.policy_magnitude < BINS:
            yield (
                f"augment.policy_magnitude is {self.policy_magnitude}; "
                f"it should be from 0 to {BINS - 1}"
            )
        if self.policy_ops * self.policy_magnitude > most_in_all:
            yield f"augment: policy_ops times policy_magnitude should be at most {most_in_all}"
        for key in ("rotate_degrees", "perspective"):
            if self.policy != "none" and getattr(self, key):
                yield (
                    f"augment.{key} is {getattr(self, key)}; it should be 0 (or left open), as "
                    f"policy={self.policy!r} moves images by itself"
                )


def in_words(settings: Augmentation) -> str:
    """Tell in one line the preset, and the strengths of every kind of variation in use."""
    s = settings
    kinds = {
        ("rotate_degrees", "rotate_probability"): s.rotate_degrees and s.rotate_probability,
        ("max_zoom", "zoom_probability"): s.max_zoom > 1 and s.zoom_probability,
        ("perspective", "perspective_probability"): s.perspective and s.perspective_probability,
        ("crop_min_area", "crop_max_ratio"): s.crop_min_area < 1,
        ("flip",): s.flip,
        ("dihedral",): s.dihedral,
        ("lighting", "brightness", "contrast", "lighting_probability"): s.lighting_probability
        and (s.brightness or s.contrast),
        ("erase_probability", "erase_min_area", "erase_max_area", "erase_max_ratio"): (
            s.erase_probability
        ),
        ("policy",): s.policy != "none",
        ("policy_ops", "policy_magnitude"): s.policy == "randaugment",
        ("mixup_alpha",): s.mixes and s.mixup_alpha,
        ("cutmix_alpha",): s.mixes and s.cutmix_alpha,
        ("mix_probability",): s.mixes,
        ("label_smoothing",): s.label_smoothing,
    }
    told = [
        f"{name}={_said(getattr(s, name))}" for names, on in kinds.items() if on for name in names
    ]
    return f"augmentation ({s.preset}): {', '.join(told) or 'none'}"


def _said(value: bool | float | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).lower()
