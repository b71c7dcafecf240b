"""What jaxft's ResNets compute beside torchvision's, layer by layer, with the same random weights.

    python bench/parity.py --peer-python=PATH [--models=resnet18,resnext101_64x4d]
        [--dtype=float64] [--image-size=224] [--batch-size=2] [--lowerings=cpu,native]

PATH is an interpreter that has torch and torchvision. It saves a state dict (.pth), which jaxft
reads as it reads any weights. Scales and biases of BatchNorm are random; its running statistics
are those of other images, off by a fifth. Compared are, in this order: in inference the outputs of
the stem and of every block, the logits, and the logits with BatchNorm folded into the kernels (as
jaxft evaluates); in a training step the outputs, the logits, the loss, the updated running
statistics, and the gradients, the head's first, as the backward pass meets them. So the first
array that differs is in the layer with the mistake.

An array's error is its largest difference over torchvision's largest entry. (Entry by entry a
relative error says nothing: where a sum cancels no digit is right.) In float64 every error should
be below 1e-8; in float32 that of the logits in inference below 1e-4, and the rest has no bound: a
ReLU's argument near zero may fall on either side there, and moves the gradients by far more than
rounding does.

Lowerings: `cpu` is what jaxft runs on a CPU; `native`, XLA's own convolutions, what it runs on a
GPU; `packed`, those in wider groups, what it runs on a TPU. All run on the CPU here. Prints a table
and one JSON line; exits with 1 where a bound is missed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

MODELS = "resnet18,resnet50,resnext50_32x4d,resnext101_32x8d,resnext101_64x4d"
CLASSES = 1000
STEM = "bn1"  # and its ReLU
TARGETS = {"cpu": ("cpu", "cpu"), "native": ("gpu", ""), "packed": ("tpu", "v5e")}
QUANTITIES = (
    *("outputs", "logits", "folded logits"),
    *("training outputs", "training logits", "loss", "statistics", "gradients"),
)
BOUNDS: dict[str, dict[str, float]] = {
    "float64": dict.fromkeys(QUANTITIES, 1e-8),
    "float32": {"logits": 1e-4, "folded logits": 1e-4},
}

Arrays = dict[str, np.ndarray]


# --- torchvision's side, in an interpreter that has it ----------------------------------------


def torch_side(options: argparse.Namespace, folder: Path) -> None:
    """Writes weights.pth, batch.npz and one .npz for each of QUANTITIES, and versions.json."""
    import torch
    import torchvision

    torch.manual_seed(0)
    network = torchvision.models.get_model(options.model, num_classes=CLASSES)
    size = (options.batch_size, 3, options.image_size, options.image_size)
    _trained_looking(torch, network, torch.randn(size))
    torch.save(network.state_dict(), folder / "weights.pth")
    dtype = getattr(torch, options.dtype)
    network, images = network.to(dtype), torch.randn(size, dtype=dtype)
    labels = torch.randint(CLASSES, size[:1])
    np.savez(folder / "batch.npz", images=_channels_last(images), labels=labels.numpy())
    outputs: Arrays = {}
    for name, module in _blocks(network):
        module.register_forward_hook(lambda _, __, y, n=name: outputs.update({n: _kept(y)}))
    with torch.inference_mode():
        logits = network.eval()(images).numpy()
    np.savez(folder / "outputs.npz", **outputs)
    for name in ("logits", "folded logits"):
        np.savez(folder / f"{name}.npz", fc=logits)
    train_logits = network.train()(images)
    loss = torch.nn.functional.cross_entropy(train_logits, labels)
    loss.backward()
    np.savez(folder / "training outputs.npz", **outputs)
    np.savez(folder / "training logits.npz", fc=train_logits.detach().numpy())
    np.savez(folder / "loss.npz", loss=loss.detach().numpy())
    state = network.state_dict()
    np.savez(folder / "statistics.npz", **{n: a.numpy() for n, a in state.items() if "runn" in n})
    gradients = [(name, p.grad.numpy()) for name, p in network.named_parameters()]
    np.savez(folder / "gradients.npz", **dict(reversed(gradients)))
    about = {"torch": torch.__version__, "torchvision": torchvision.__version__}
    (folder / "versions.json").write_text(json.dumps(about))


def _trained_looking(torch: Any, network: Any, images: Any) -> None:
    """Random scales and biases, and running statistics about those of `images`."""
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias, std=0.2)
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(images)
    for norm in norms:
        norm.momentum = 0.1
        norm.running_mean += 0.2 * norm.running_var.sqrt() * torch.randn(norm.num_features)
        norm.running_var *= torch.empty(norm.num_features).uniform_(0.8, 1.2)


def _blocks(network: Any) -> Iterator[tuple[str, Any]]:
    yield STEM, network.relu  # called once, after bn1
    for layer in ("layer1", "layer2", "layer3", "layer4"):
        for number, block in enumerate(getattr(network, layer)):
            yield f"{layer}.{number}", block


def _channels_last(tensor: Any) -> np.ndarray:
    return tensor.permute(0, 2, 3, 1).numpy()


def _kept(tensor: Any) -> np.ndarray:
    """A copy: the maximum pooling after the stem, and others, may write into what they read."""
    return _channels_last(tensor.detach()).copy()


# --- jaxft's side -----------------------------------------------------------------------------


def jaxft_side(
    options: argparse.Namespace, name: str, folder: Path
) -> Iterator[tuple[str, Arrays]]:
    """Each of QUANTITIES in turn: the same arrays under the same names."""
    import jax
    import jax.numpy as jnp

    from jaxft.models import fold
    from jaxft.models.registry import create
    from jaxft.models.weights.torch_names import body_from_torch, to_torch
    from jaxft.models.weights.weight_file import read_weights
    from jaxft.recipe.cross_entropy import cross_entropy

    model = create(name, CLASSES, hidden=(), pooling="avg")
    loaded = body_from_torch(name, read_weights(folder / "weights.pth"), with_head=True)
    params, stats = jax.tree.map(lambda a: jnp.asarray(a, options.dtype), loaded)
    stats["head"] = {}
    with np.load(folder / "batch.npz") as batch:
        images, labels = jnp.asarray(batch["images"]), jnp.asarray(batch["labels"])

    @jax.jit
    def infer(params, stats, images):
        features, outputs = run_body(model, params, stats, images, train=False)[:2]
        return model.classify(params, stats, features)[0], outputs

    logits, outputs = jax.device_get(infer(params, stats, images))
    yield "outputs", outputs
    yield "logits", {"fc": logits}
    body = {group: params[group] for group in ("early", "late")}
    folded, left = jax.jit(lambda p, s: fold.fold(model.body, p, s))(body, stats)
    features = jax.jit(lambda p, s, x: model.features(p, s, x)[0])(folded, left, images)
    yield "folded logits", {"fc": model.classify(params, stats, features)[0]}

    def loss(params, stats, images):
        features, outputs, new = run_body(model, params, stats, images, train=True)
        logits = model.classify(params, stats, features)[0]
        return cross_entropy(logits, labels).mean(), (logits, outputs, new)

    train = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, (logits, outputs, new)), gradients = jax.device_get(train(params, stats, images))
    yield "training outputs", outputs
    yield "training logits", {"fc": logits}
    yield "loss", {"loss": value}
    named = to_torch(name, gradients, new)
    yield "statistics", {key: array for key, array in named.items() if "running" in key}
    yield "gradients", {key: array for key, array in named.items() if "running" not in key}


def run_body(model: Any, params: Any, stats: Any, images: Any, train: bool) -> tuple[Any, Any, Any]:
    """Pooled features, the outputs of stem and blocks by torchvision's names, new statistics."""
    from jaxft.models.pooling import pool

    x, outputs, new = images, {}, {}
    for group, module in (("early", model.body.early), ("late", model.body.late)):
        x, seen = module.apply(
            {"params": params[group], "batch_stats": stats[group]},
            x,
            train=train,
            mutable=["batch_stats", "intermediates"],
            capture_intermediates=lambda module, _: module.name == STEM or _is_block(module),
        )
        new[group] = seen["batch_stats"]
        for name, found in seen["intermediates"].items():
            if "__call__" in found:
                outputs[name.replace("_", ".")] = found["__call__"][0]
    return pool(x, model.pooling), outputs, new


def _is_block(module: Any) -> bool:
    return (module.name or "").startswith("layer")


# --- the comparison ---------------------------------------------------------------------------


class Difference(NamedTuple):
    """One quantity of one model: its worst array, and the first that misses the bound, if any."""

    model: str
    lowering: str
    quantity: str
    arrays: int
    worst: str
    error: float
    bound: float | None
    first: str | None
    first_error: float | None


def error_of(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference over the largest entry; infinite for shapes that differ, or NaN."""
    if np.shape(found) != np.shape(wanted):
        return float("inf")
    error = np.abs(np.asarray(found, np.float64) - wanted).max() / np.abs(wanted).max()
    return float(error) if np.isfinite(error) else float("inf")


def compare(found: Mapping[str, Any], wanted: Mapping[str, Any], bound: float | None) -> dict:
    """`arrays`, `worst`, `error`, `bound`, `first` and `first_error` of a Difference.

    Arrays are taken in the order of `wanted`. One that either side lacks is infinitely off.
    """
    names = [*wanted, *(name for name in found if name not in wanted)]
    errors = {
        name: error_of(found[name], wanted[name])
        if name in found and name in wanted
        else float("inf")
        for name in names
    }
    worst = max(errors, key=lambda name: errors[name])
    first = next((n for n, e in errors.items() if bound is not None and e > bound), None)
    return {
        "arrays": len(names),
        "worst": worst,
        "error": errors[worst],
        "bound": bound,
        "first": first,
        "first_error": None if first is None else errors[first],
    }


def differences(options: argparse.Namespace, name: str, folder: Path) -> Iterator[Difference]:
    """One model under each lowering, beside what torchvision's side left in `folder`."""
    from jaxft.devices import platform

    for lowering in options.lowerings.split(","):
        with platform.targeting(*TARGETS[lowering]):
            for quantity, found in jaxft_side(options, name, folder):
                with np.load(folder / f"{quantity}.npz") as wanted:
                    bound = BOUNDS[options.dtype].get(quantity)
                    result = compare(found, wanted, bound)
                yield Difference(name, lowering, quantity, **result)


def line(row: Difference) -> str:
    """A row of the table."""
    verdict = "" if row.bound is None else f"< {row.bound:.0e}"
    if row.first is not None:
        verdict = (
            f"FAILS the bound of {row.bound:.0e}, first in {row.first} ({row.first_error:.1e})"
        )
    return (
        f"{row.model:<18}{row.lowering:<8}{row.quantity:<18}{row.arrays:>4}  "
        f"{row.error:.1e}  {row.worst:<32}{verdict}"
    )


def compare_all(options: argparse.Namespace) -> dict:
    """Runs torchvision's side and jaxft's for every model, and prints the table as it grows."""
    import jax

    jax.config.update("jax_enable_x64", options.dtype == "float64")
    rows, versions = [], {"jax": jax.__version__}
    print(f"{'model':<18}{'runs':<8}{'quantity':<18}arrays  error  worst array")
    for name in options.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            flags = [f"--worker={folder}", f"--model={name}", f"--dtype={options.dtype}"]
            flags += [f"--image-size={options.image_size}", f"--batch-size={options.batch_size}"]
            subprocess.run([options.peer_python, __file__, *flags], check=True)
            versions |= json.loads((Path(folder) / "versions.json").read_text())
            for row in differences(options, name, Path(folder)):
                print(line(row), flush=True)
                rows.append(row)
    return {
        "bench": "parity",
        **{key: getattr(options, key) for key in ("dtype", "image_size", "batch_size")},
        "versions": versions,
        "failed": sum(row.first is not None for row in rows),
        "rows": [row._asdict() for row in rows],
    }


def main() -> None:
    """Reads the flags; compares, or computes torchvision's side."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer-python", help="an interpreter that has torch and torchvision")
    parser.add_argument("--models", default=MODELS, help="separated by commas")
    parser.add_argument("--dtype", choices=BOUNDS, default="float64")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--lowerings", default="cpu,native", help="some of " + ", ".join(TARGETS))
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        torch_side(options, options.worker)
    elif options.peer_python:
        result = compare_all(options)
        print(json.dumps(result))
        sys.exit(1 if result["failed"] else 0)
    else:
        parser.error("--peer-python is needed")


if __name__ == "__main__":
    main()
