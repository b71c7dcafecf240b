"""The preprocessing that weights expect, as timm, torchvision or a run of jaxft states it."""

import json
from collections.abc import Mapping
from typing import Any

from jaxft.errors import UserError
from jaxft.models.body import INTERPOLATIONS, Preprocessing
from jaxft.runtime.paths import AnyPath

TIMM_FILE = "config.json"
RUN_FILE = "preprocessing.json"

# Weights that torchvision evaluates on the middle of a shorter side of 232 pixels, not of 256; by
# the names of their files, which end in the first digits of the content's SHA-256.
# Source: torchvision 0.29, `transforms()` of its weights; all bilinear, at 224 pixels.
RESIZED_TO_232 = frozenset(
    f"{name}.pth"
    for name in (
        "resnet50-11ad3fa6",
        "resnet101-cd907fc2",
        "resnet152-f82ba261",
        "resnext50_32x4d-1a0047aa",
        "resnext101_32x8d-110c445d",
        "resnext101_64x4d-173b62eb",
    )
)


def read_timm(path: AnyPath) -> tuple[Preprocessing, str] | None:
    """Read the preprocessing and the licence of the weights beside timm's config.json.

    timm states the size of training and, where it differs, the one at which accuracy is best. The
    latter counts: timm trains on random parts of an image, enlarged, and objects in whole images
    are as large only at its larger test size.

    Returns:
      None where there is no such file, or it is not timm's.

    Raises:
      UserError: a file that cannot be read, or asks for what jaxft does not do.
    """
    if not path.exists():
        return None
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    facts = config.get("pretrained_cfg") if isinstance(config, dict) else None
    if facts is None:
        return None
    try:
        return _from_timm(facts), str(facts.get("license", "licence not stated"))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} does not say what images the weights expect:",
            [f"{type(error).__name__}: {error}"],
            "timm's config.json has a pretrained_cfg with input_size, interpolation (bilinear or "
            "bicubic), crop_pct, mean and std; without that file the model's usual ones apply.",
        ) from error


def _from_timm(facts: Mapping[str, Any]) -> Preprocessing:
    if facts["interpolation"] not in INTERPOLATIONS:
        raise ValueError(f"interpolation is {facts['interpolation']!r}")
    tested = "test_input_size" in facts
    _, height, width = facts["test_input_size" if tested else "input_size"]
    if height != width:
        raise ValueError(f"images of {height} x {width} pixels are not square")
    crop = facts.get("test_crop_pct", facts["crop_pct"]) if tested else facts["crop_pct"]
    return Preprocessing(
        _in_pixels(facts["mean"]),
        _in_pixels(facts["std"]),
        int(height),
        float(crop),
        facts["interpolation"],
    )


def _in_pixels(shares: Any) -> tuple[float, float, float]:
    red, green, blue = (round(255 * float(share), 6) for share in shares)
    return red, green, blue


def of_file(path: AnyPath, usual: Preprocessing) -> Preprocessing:
    """Return the preprocessing for a file of weights: timm's config.json beside it, or the usual.

    Raises:
      UserError: as `read_timm`.
    """
    found = read_timm(path.parent / TIMM_FILE)  # "/" has no name to replace
    if found:
        return found[0]
    return usual._replace(crop_fraction=224 / 232) if path.name in RESIZED_TO_232 else usual


def of_run(workdir: AnyPath) -> Preprocessing:
    """Read the preprocessing of the images that a run was trained on.

    Raises:
      UserError: the workdir holds no run.
    """
    try:
        facts = json.loads((workdir / RUN_FILE).read_text())
        return Preprocessing(**{**facts, "mean": tuple(facts["mean"]), "std": tuple(facts["std"])})
    except FileNotFoundError:
        raise UserError(f"{workdir} holds no run: there is no {RUN_FILE} in it") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{workdir / RUN_FILE} cannot be read: {error}") from error
