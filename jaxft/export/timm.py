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
from jaxft.export.timm_config import classifier, config
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
LINEAR = "linear0"  # jaxft's name for the one layer of a plain head
BODY_GROUPS = ("early", "late")
SOURCE = Path(__file__).with_name("torch_head.py")


def demand(subject: Subject) -> None:
    """Raise UserError where timm has no such network."""
    if subject.model.name not in ORIGINALS:
        raise UserError(f"timm has no network that computes {subject.model.name}")


def write(subject: Subject, folder: Path) -> Run:
    """Write the folder's files; return a function that reads the weights back and runs them."""
    (params, stats), name = subject.weights, subject.model.name
    early_and_late = ({group: tree[group] for group in BODY_GROUPS} for tree in (params, stats))
    arrays = to_torch(name, *early_and_late)
    arrays = {timm_name(name, original): array for original, array in arrays.items()}
    pooling = subject.model.pooling
    head = to_head_file(turned(params["head"], pooling), turned(stats["head"], pooling))
    if subject.settings.model.hidden:
        _save(folder / HEAD, head)
        shutil.copyfile(SOURCE, folder / MODULE)
    else:
        arrays |= {key.replace(LINEAR, classifier(name)): array for key, array in head.items()}
    _save(folder / BODY, arrays)
    write_json(folder / CONFIG, config(subject))
    return reader(subject, folder)


def _save(file: Path, arrays: dict[str, np.ndarray]) -> None:
    content = safetensors.numpy.save(with_counters(arrays), {"format": "pt"})
    paths.write(file, lambda target: target.write(content))


def read_back(subject: Subject, folder: Path) -> Weights:
    """Read the weights of a folder that `write` has written.

    Raises:
      UserError: they are not whole.
    """
    arrays = read_weights(folder / BODY)
    params, stats = body_from_torch(subject.model.name, arrays)
    if subject.settings.model.hidden:
        head = from_head_file(read_weights(folder / HEAD))
    else:
        last = f"{classifier(subject.model.name)}."
        own = {key: array for key, array in arrays.items() if key.startswith(last)}
        head = from_head_file({key.replace(last, f"{LINEAR}."): a for key, a in own.items()})
    for tree, found in zip((params, stats), head, strict=True):
        tree["head"] = turned(found, subject.model.pooling)
    return Weights(params, stats)


def reader(subject: Subject, folder: Path) -> Run:
    """Return a function that reads the weights back and runs them in the run's own network."""

    def run(canvases: np.ndarray) -> np.ndarray:
        answer = probabilities(subject, read_back(subject, folder))
        return np.asarray(jax.jit(answer)(canvases))

    return run


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
