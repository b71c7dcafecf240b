"""Pretrained weights by name, from timm's repositories on the Hugging Face hub.

Facts of each set of weights (image size and crop it is evaluated at, interpolation, mean and
standard deviation, licence) are those of timm 1.0's `default_cfgs`.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jaxft.errors import UserError
from jaxft.models.body import IMAGENET_STATISTICS, Preprocessing
from jaxft.paths import AnyPath

FILE = "model.safetensors"


class Pretraining(NamedTuple):
    """How the images looked that a set of weights was evaluated on, and its licence.

    `size` in pixels; the image's shorter side was `size / crop_fraction` before a centre crop.
    """

    size: int
    crop_fraction: float
    interpolation: str
    license: str = "apache-2.0"
    preprocessing: Preprocessing = IMAGENET_STATISTICS


PLAIN = Pretraining(224, 0.875, "bicubic")
TORCHVISION = Pretraining(224, 0.875, "bilinear", "bsd-3-clause")
TORCHVISION_V2 = Pretraining(224, 0.965, "bilinear", "bsd-3-clause")
FACEBOOK = Pretraining(224, 0.875, "bilinear", "cc-by-nc-4.0")
LARGE = Pretraining(288, 1.0, "bicubic")
LARGE_CROPPED = Pretraining(288, 0.95, "bicubic")
SMALL = Pretraining(224, 0.95, "bicubic")
HALVES = Preprocessing((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))

TAGS = {
    "tv_in1k": TORCHVISION,
    "tv2_in1k": TORCHVISION_V2,
    "gluon_in1k": PLAIN,
    "am_in1k": PLAIN,
    **dict.fromkeys(("a1_in1k", "a2_in1k", "b1k_in1k", "b2k_in1k"), LARGE),
    **dict.fromkeys(("c1_in1k", "c2_in1k", "d_in1k", "a1h_in1k"), LARGE),
    **dict.fromkeys(("bt_in1k", "ra_in1k", "ram_in1k"), LARGE_CROPPED),
    "a3_in1k": SMALL,
    "fb_ssl_yfcc100m_ft_in1k": FACEBOOK,
    "fb_swsl_ig1b_ft_in1k": FACEBOOK,
    "fb_wsl_ig1b_ft_in1k": FACEBOOK,
    "ra4_e3600_r224_in1k": LARGE._replace(preprocessing=HALVES),
}

# Model -> its tags, the one that `imagenet` stands for first.
MODELS = {
    "resnet18": "tv a1 a2 a3 gluon fb_ssl_yfcc100m_ft fb_swsl_ig1b_ft",
    "resnet34": "tv a1 a2 a3 bt gluon ra4_e3600_r224",
    "resnet50": "tv tv2 a1 a1h a2 a3 am b1k b2k bt c1 c2 d gluon ra ram fb_ssl_yfcc100m_ft "
    "fb_swsl_ig1b_ft",
    "resnet101": "tv tv2 a1 a1h a2 a3 gluon",
    "resnet152": "tv tv2 a1 a1h a2 a3 gluon",
    "resnext50_32x4d": "tv tv2 a1 a1h a2 a3 ra gluon fb_ssl_yfcc100m_ft fb_swsl_ig1b_ft",
    "resnext101_32x4d": "gluon fb_ssl_yfcc100m_ft fb_swsl_ig1b_ft",
    "resnext101_32x8d": "tv tv2 fb_ssl_yfcc100m_ft fb_swsl_ig1b_ft fb_wsl_ig1b_ft",
    "resnext101_64x4d": "tv c1 gluon",
}


def tags(name: str) -> tuple[str, ...]:
    """The names under which the hub has weights of a model, the usual ones first."""
    return tuple(f"{tag}_in1k" for tag in MODELS.get(name, "").split())


def pretraining(name: str, tag: str) -> Pretraining:
    """What is known of one set of weights.

    Raises:
      KeyError: the hub has no such weights of this model.
    """
    if tag not in tags(name):
        raise KeyError(tag)
    if (name, tag) == ("resnet50", "a1h_in1k"):  # alone of its kind
        return LARGE._replace(size=224)
    return TAGS[tag]


def fetch(name: str, tag: str) -> tuple[Path, dict[str, Any]]:
    """The file of weights, out of the hub's cache or the hub, and what tells it apart.

    The file's SHA-256 is the one that the hub states for it; a cached file that has another is
    fetched again, once.

    Args:
      name: one of MODELS.
      tag: one of `tags(name)`.

    Returns:
      (path in huggingface_hub's cache, {repository, revision, file, sha256}).

    Raises:
      UserError: huggingface_hub is missing, the hub cannot be reached and nothing is cached, the
        connection broke, or the digest is wrong twice; says how to bring the file.
    """
    repository = f"timm/{name}.{tag}"
    for again in (False, True):
        path = _download(repository, again)
        # The cache names what it keeps after the digest that the hub states, and a folder after
        # the revision.
        stated, found = path.resolve().name, sha256(path)
        if stated == found:
            about = {"repository": repository, "revision": path.parent.name, "file": FILE}
            return path, {**about, "sha256": found}
    raise UserError(
        f"{repository}: the file's digest is wrong",
        [f"the hub states SHA-256 {stated}", f"{path} has {found}"],
        _how_to_bring(repository),
    )


def _download(repository: str, again: bool) -> Path:
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(
            f"Weights by name ({repository}) come by huggingface_hub, which is not installed",
            hint="Install it: pip install 'jaxft[hub]'. Or give a file: model.weights=file:PATH.",
        ) from error
    try:
        return Path(huggingface_hub.hf_hub_download(repository, FILE, force_download=again))
    except Exception as error:  # the library that it speaks HTTP by changes with its version
        lines = [f"{type(error).__name__}: {line}" for line in _first_lines(error)]
        title = f"{repository} cannot be fetched from the hub, and is not in its cache"
        raise UserError(title, lines, _how_to_bring(repository)) from error


def _first_lines(error: BaseException) -> Iterator[str]:
    """One line of each error that led to this one, the last first."""
    cause: BaseException | None = error
    while cause is not None:
        yield (str(cause).strip() or "no reason given").splitlines()[0][:200]
        cause = cause.__cause__


def _how_to_bring(repository: str) -> str:
    return (
        f"Without a connection: fetch https://huggingface.co/{repository}/resolve/main/{FILE} "
        "elsewhere and give --config.model.weights=file:PATH; or copy the hub's cache here "
        "(HF_HOME says where it is). HF_ENDPOINT names a mirror."
    )


def sha256(path: AnyPath) -> str:
    """A file's SHA-256, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
