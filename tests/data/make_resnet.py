"""Makes resnet18.npz and resnext50_32x4d.npz: what torchvision computes with random weights.

    python tests/data/make_resnet.py

Needs torch and torchvision. Everything runs in float64 on three 64-pixel images; weights, images
and directions of projection come from tests/random_weights.py.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torchvision

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from random_weights import images, project, weight  # noqa: E402


def make(name: str) -> dict[str, np.ndarray]:
    """Logits in both modes, and projections of all that a training step changes."""
    model = getattr(torchvision.models, name)().double()
    names = [key for key in model.state_dict() if not key.endswith("num_batches_tracked")]
    for key in names:
        tensor = model.state_dict()[key]
        tensor.copy_(torch.from_numpy(weight(key, tuple(tensor.shape))))
    x = torch.from_numpy(images(3, 64)).permute(0, 3, 1, 2)
    eval_logits = model.eval()(x).detach().numpy()
    train_logits = model.train()(x)
    torch.nn.functional.cross_entropy(train_logits, torch.arange(3)).backward()
    parameters = {key: tensor.grad.numpy() for key, tensor in model.named_parameters()}
    stats = {key: value.numpy() for key, value in model.state_dict().items() if "running" in key}
    return {
        "eval_logits": eval_logits.astype("f4"),
        "train_logits": train_logits.detach().numpy().astype("f4"),
        "gradient_names": np.array(list(parameters)),
        "gradients": np.array([project(key, array) for key, array in parameters.items()]),
        "stat_names": np.array(list(stats)),
        "stats": np.array([project(key, array) for key, array in stats.items()]),
    }


if __name__ == "__main__":
    for name in ("resnet18", "resnext50_32x4d"):
        np.savez_compressed(HERE / f"{name}.npz", **make(name))
