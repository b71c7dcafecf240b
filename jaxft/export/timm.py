"""A run's model as a folder that timm opens, `create_model("local-dir:DIR", pretrained=True)`.

`config.json` and `model.safetensors` are timm's. torchvision has the same names for a ResNet's
arrays, so its `load_state_dict` takes them too, where the pooling is the average. timm's heads are
one linear layer. Of another head `model.safetensors` holds the body, `head.safetensors` the head,
and `head.py`, beside them, makes the whole network of both.

timm's `catavgmax` pools average and maximum beside each other, in this order, jaxft the maximum
first: whatever takes the pooled features is written with its inputs in timm's order.
"""

import shutil
from pathlib import Path

import jax
import numpy as np
import safetensors.numpy

from jaxft.errors import UserError
from jaxft.export.network import Run, probabilities
from jaxft.export.subject import Subject
from jaxft.export.text import render
from jaxft.export.timm_config import config
from jaxft.export.timm_head import from_head_file, to_head_file, turned, with_counters
from jaxft.models.bodies.resnet import network
from jaxft.models.variables import Weights
from jaxft.models.weights.torch_names import ORIGINALS, body_from_torch, timm_name, to_torch
from jaxft.models.weights.weight_file import read_weights
from jaxft.runtime import paths
from jaxft.workdir.rows import write_json

# torchvision has no resnext101_32x4d.
TORCHVISION = network.BODIES.keys() - {"resnext101_32x4d"}
CONFIG, BODY, HEAD, MODULE = "config.json", "model.safetensors", "head.safetensors", "head.py"
SOURCE = Path(__file__).with_name("torch_head.py")


def demand(subject: Subject) -> None:
    """Raise UserError where timm has no such network."""
    if subject.model.name not in ORIGINALS:
        raise UserError(f"timm has no network that computes {subject.model.name}")


def write(subject: Subject, folder: Path) -> Run:
    """Write the folder's files; return a function that reads the weights back and runs them."""
    params, stats = subject.weights
    pooling, plain = subject.model.pooling, not subject.settings.model.hidden
    head = turned(params["head"], pooling)
    body = {group: params[group] for group in ("early", "late")}
    whole = {**body, "head": head} if plain else body
    arrays = to_torch(subject.model.name, whole, {group: stats[group] for group in body})
    _save(folder / BODY, {timm_name(subject.model.name, name): a for name, a in arrays.items()})
    if not plain:
        _save(folder / HEAD, to_head_file(head, turned(stats["head"], pooling)))
        shutil.copyfile(SOURCE, folder / MODULE)
    write_json(folder / CONFIG, config(subject))
    return lambda canvases: np.asarray(
        jax.jit(probabilities(subject, read_back(subject, folder)))(canvases)
    )


def _save(file: Path, arrays: dict[str, np.ndarray]) -> None:
    content = safetensors.numpy.save(with_counters(arrays), {"format": "pt"})
    paths.write(file, lambda target: target.write(content))


def read_back(subject: Subject, folder: Path) -> Weights:
    """Read the weights of a folder that `write` has written.

    Raises:
      UserError: they are not whole.
    """
    plain = not subject.settings.model.hidden
    arrays = read_weights(folder / BODY)
    params, stats = body_from_torch(subject.model.name, arrays, with_head=plain)
    if not plain:
        params["head"], stats["head"] = from_head_file(read_weights(folder / HEAD))
    for tree in (params, stats):
        tree["head"] = turned(tree.get("head", {}), subject.model.pooling)
    return Weights(params, stats)


def usage(subject: Subject) -> str:
    """Return Markdown on how PyTorch runs the folder."""
    name, plain = subject.model.name, not subject.settings.model.hidden
    return render(
        "timm.md.jinja",
        hidden=not plain,
        torchvision=plain and name in TORCHVISION and subject.model.pooling == "avg",
        architecture=name,
        classes=len(subject.classes),
    )
