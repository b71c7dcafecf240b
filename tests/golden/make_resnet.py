"""Make resnet18.npz and resnext50_32x4d.npz: torchvision's results with random weights.

    python tests/golden/make_resnet.py

Needs torch and torchvision. Everything runs in float64 on three 64-pixel images; weights, images
and directions of projection come from tests/support/random_weights.py. Outputs are those of the
stem (its ReLU) and of every block, channels last.
"""

import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.with_name("support")))

from random_weights import images, project, weight  # noqa: E402


def make(name: str) -> dict[str, np.ndarray]:
    """Logits in both modes; projections of outputs, and of all that a training step changes."""
    model = getattr(torchvision.models, name)().double()
    names = [key for key in model.state_dict() if not key.endswith("num_batches_tracked")]
    for key in names:
        tensor = model.state_dict()[key]
        tensor.copy_(torch.from_numpy(weight(key, tuple(tensor.shape))))
    outputs: dict[str, float] = {}
    for key, module in model.named_modules():
        if key == "relu" or re.fullmatch(r"layer\d\.\d+", key):
            module.register_forward_hook(partial(note, outputs, "bn1" if key == "relu" else key))
    x = torch.from_numpy(images(3, 64)).permute(0, 3, 1, 2)
    eval_logits = model.eval()(x).detach().numpy()
    eval_outputs = list(outputs.values())
    train_logits = model.train()(x)
    torch.nn.functional.cross_entropy(train_logits, torch.arange(3)).backward()
    parameters = {key: tensor.grad.numpy() for key, tensor in model.named_parameters()}
    stats = {key: value.numpy() for key, value in model.state_dict().items() if "running" in key}
    return {
        "eval_logits": eval_logits.astype("f4"),
        "train_logits": train_logits.detach().numpy().astype("f4"),
        "output_names": np.array(list(outputs)),
        "eval_outputs": np.array(eval_outputs),
        "train_outputs": np.array(list(outputs.values())),
        "gradient_names": np.array(list(parameters)),
        "gradients": np.array([project(key, array) for key, array in parameters.items()]),
        "stat_names": np.array(list(stats)),
        "stats": np.array([project(key, array) for key, array in stats.items()]),
    }


def note(outputs: dict[str, float], name: str, module: torch.nn.Module, _: object, y: torch.Tensor):
    """A forward hook: keeps the projection of what a module returns."""
    outputs[name] = project(name, y.detach().permute(0, 2, 3, 1).numpy())


if __name__ == "__main__":
    for name in ("resnet18", "resnext50_32x4d"):
        arrays: dict[str, Any] = make(name)  # or mypy takes one of them for savez's flag
        np.savez_compressed(HERE / f"{name}.npz", **arrays)
