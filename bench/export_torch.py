"""What `jaxft export --to=timm` writes, opened by timm and torchvision, beside `jaxft predict`.

    python bench/export_torch.py --peer-python=PATH [--models=resnet18,resnext50_32x4d,...]
        [--image-size=64] [--interpolation=bilinear] [--out=DIRECTORY]

PATH is an interpreter that has torch, torchvision and timm. Of every model a head is trained, of
each kind in HEADS, on cuts of the two photographs that come with scikit-learn; ResNets begin with
random weights and those photographs' statistics, EfficientNet-Lite0 with its own. Each run is
exported. Then, on 50 validation images, probabilities are compared with jaxft's, the largest
difference of all counts:

    network      timm's network on the views that jaxft's network sees
    torchvision  torchvision's, its load_state_dict strict, where the head is one of its own
    pipeline     timm's network and its own transform, from the files
    same class   share of the files that the pipeline puts in the class that jaxft puts them in
    pixels       mean difference of the pipeline's view from jaxft's, 0..255
    bicubic      the same with timm's bicubic filter in place of its bilinear one

Prints a table and one JSON line; exits with 1 where `network` or `torchvision` is above 1e-4.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

MODELS = "resnet18,resnext50_32x4d,efficientnet_lite0"
HEADS: dict[str, dict[str, Any]] = {
    "avg": {"hidden": (), "pooling": "avg"},
    "max_avg": {"hidden": (), "pooling": "max_avg"},
    "layers": {"hidden": (64,), "dropout": (0.25, 0.5), "pooling": "max_avg"},
}
PHOTOS = 120  # of each class
BOUND = 1e-4
COLUMNS = ("network", "torchvision", "pipeline", "same class", "pixels", "bicubic")


# --- PyTorch's side, in an interpreter that has it ---------------------------------------------


def make(folder: Path) -> None:
    """Write FOLDER/MODEL.pth: random weights, BatchNorm's statistics those of the photographs."""
    import torch
    import torchvision
    from torchvision.transforms import v2

    torch.manual_seed(0)
    files = sorted((folder / "photos").rglob("*.png"))[::4]
    cut = v2.Compose([v2.Resize(64), v2.CenterCrop(64), v2.ToDtype(torch.float32, scale=True)])
    images = torch.stack([cut(torchvision.io.decode_image(str(file))) for file in files]) * 4 - 2
    for name in (word for word in MODELS.split(",") if word.startswith("res")):
        network = getattr(torchvision.models, name)().train()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # the mean over all batches
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                torch.nn.init.normal_(module.bias, 0, 0.1)
        with torch.no_grad():
            network(images)
        torch.save(network.state_dict(), folder / f"{name}.pth")


def compare(folder: Path) -> None:
    """Print as JSON the figures of every exported run below a folder."""
    import timm
    import torch
    import torchvision

    torch.set_grad_enabled(False)
    found: dict[str, Any] = {
        "versions": {module.__name__: module.__version__ for module in (torch, torchvision, timm)}
    }
    for place in sorted((folder / "runs").iterdir()):
        found[place.name] = figures(place, torch, torchvision, timm)
    print(json.dumps(found))


def figures(place: Path, torch: Any, torchvision: Any, timm: Any) -> dict[str, float]:
    """One row of the table."""
    from PIL import Image

    exported, asked = place / "exported", np.load(place / "asked.npz")
    own, views = asked["probabilities"], torch.from_numpy(asked["views"])
    config = json.loads((exported / "config.json").read_text())
    model = opened(exported, timm).eval()

    def off(network: Any, images: Any) -> np.ndarray:
        return np.abs(network(images).double().softmax(1).numpy() - own)

    row = {"network": off(model, views).max()}
    name, head = place.name.split("-")
    if head == "avg" and name.startswith("res"):
        peer = getattr(torchvision.models, name)(num_classes=own.shape[1])
        state = timm.models.load_state_dict(str(exported / "model.safetensors"))
        peer.load_state_dict(state, strict=True)
        row["torchvision"] = off(peer.eval(), views).max()
    data = timm.data.resolve_data_config({}, pretrained_cfg=config["pretrained_cfg"])
    files = json.loads((place / "files.json").read_text())
    pictures = [Image.open(file).convert("RGB") for file in files]
    std = torch.tensor(data["std"])[:, None, None] * 255
    for column, filter in (("bicubic", "bicubic"), ("pixels", data["interpolation"])):
        transform = timm.data.create_transform(**{**data, "interpolation": filter})
        images = torch.stack([transform(picture) for picture in pictures])
        row[column] = ((images - views).abs() * std).mean().item()
    row["pipeline"] = off(model, images).max()
    row["same class"] = np.mean(model(images).argmax(1).numpy() == own.argmax(1))
    return {key: float(value) for key, value in row.items()}


def opened(exported: Path, timm: Any) -> Any:
    """The network, by timm alone or with the module that lies beside the weights."""
    if not (exported / "head.py").exists():
        return timm.create_model(f"local-dir:{exported}", pretrained=True)
    names: dict[str, Any] = {}
    exec((exported / "head.py").read_text(), names)
    return names["create_model"](str(exported))


# --- jaxft's side --------------------------------------------------------------------------------


def cut_photos(folder: Path) -> None:
    """Write FOLDER/CLASS/NUMBER.png: cuts of two photographs, of many sizes and shapes."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    random = np.random.default_rng(0)
    for name, photo in zip(("china", "flower"), load_sample_images().images, strict=True):
        (folder / name).mkdir(parents=True)
        for number in range(PHOTOS):
            height, width = random.integers(90, 400, 2)
            top, left = (int(random.integers(0, 427 - height + 1)), int(random.integers(0, 240)))
            cut = photo[top : top + height, left : left + width]
            Image.fromarray(cut).save(folder / name / f"{number:03d}.png")


def export(folder: Path, name: str, head: str, options: argparse.Namespace) -> None:
    """Train a head and export the run; keep what jaxft answers to 50 validation images."""
    from jaxft import run
    from jaxft.augment.view import evaluate_view, network_input
    from jaxft.cli import main
    from jaxft.configs import base
    from jaxft.export import opening, reference
    from jaxft.runtime.console import Console

    config = base.get_config()
    config.data.source, config.data.valid_fraction = f"folder:{folder / 'photos'}", 0.5
    config.data.image_size = options.image_size
    config.data.interpolation = options.interpolation
    weights = "imagenet" if name == "efficientnet_lite0" else f"file:{folder / name}.pth"
    config.model.update({"name": name, "weights": weights, **HEADS[head]})
    config.phases = (base.phase(name="head", inputs="cached", lr=0.001, epochs=2),)
    config.cache_dir = str(folder / "cache")
    place = folder / "runs" / f"{name}-{head}"
    run.train(config, place / "run")
    to = ["--to=timm,stablehlo", f"--output={place / 'exported'}"]
    if main.main(["export", f"--workdir={place / 'run'}", *to]):
        raise SystemExit(1)
    subject = opening.of_run(place / "run")
    split, _ = reference.images_of(subject, place / "run", (), Console(None))
    files = [split.names[index] for index in reference.spread(len(split))]
    own = reference.ask(subject, place / "run", files, Console(None))
    view = evaluate_view(own.canvases, options.image_size)
    views = np.asarray(network_input(view, subject.model.preprocessing, np.float32))
    views = views.transpose(0, 3, 1, 2)
    np.savez(place / "asked.npz", probabilities=own.probabilities, views=views)
    (place / "files.json").write_text(json.dumps(files))


def report(found: dict[str, Any]) -> int:
    """Print the table and the JSON line; return the exit code."""
    versions = found.pop("versions")
    print(f"{'model':<30}" + "".join(f"{column:>13}" for column in COLUMNS))
    for name, row in found.items():
        cells = [f"{row[column]:.2g}" if column in row else "" for column in COLUMNS]
        print(f"{name:<30}" + "".join(f"{cell:>13}" for cell in cells))
    print(json.dumps({"versions": versions, **found}))
    exact = [row[key] for row in found.values() for key in ("network", "torchvision") if key in row]
    return int(not max(exact) <= BOUND)


def main() -> int:
    """Run both sides."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--interpolation", default="bilinear", help="config.data.interpolation")
    parser.add_argument("--out", type=Path, help="a new folder, where all is kept; else nowhere")
    parser.add_argument("--worker", choices=("make", "compare"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        {"make": make, "compare": compare}[options.worker](options.out)
        return 0
    with tempfile.TemporaryDirectory() as aside:
        folder = (options.out or Path(aside) / "out").absolute()
        cut_photos(folder / "photos")
        peer = [options.peer_python, __file__, f"--out={folder}"]
        subprocess.run([*peer, "--worker=make"], check=True)
        for name in options.models.split(","):
            for head in HEADS:
                export(folder, name, head, options)
        done = subprocess.run([*peer, "--worker=compare"], check=True, stdout=subprocess.PIPE)
        return report(json.loads(done.stdout))


if __name__ == "__main__":
    sys.exit(main())
