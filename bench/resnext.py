"""ResNeXt-101 64x4d beside torchvision's, on CPU in float32: inference and two training steps.

    python bench/resnext.py --peer-python=PATH [--model=resnext101_64x4d] [--batch-size=8]
        [--image-size=224] [--rounds=5]

PATH is an interpreter that has torch and torchvision. Both sides run as processes of their own
with the same number of threads and are timed in turn (A B A B). Weights are random: they change no
time. The passes: `forward`, inference; `train`, a full training step (batch statistics, gradients
of every layer, SGD with momentum); `head`, a step that trains the last layer alone on images, the
body frozen with its running statistics. PyTorch (eager) runs contiguous and channels-last, and the
faster of the two counts for each pass. Prints one JSON line; a ratio is jaxft's images per second
over PyTorch's.
"""

import argparse
import json
import sys

import jaxft_side
import side_by_side
from side_by_side import Passes, Side

CLASSES = 128
MOMENTUM = 0.9
PASSES = ("forward", "train", "head")


def torch_passes(options: argparse.Namespace) -> tuple[dict, Passes]:
    """What torchvision's model runs, one entry for each pass and memory layout."""
    import torch
    import torchvision
    from torch.nn import functional as F

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    side = options.image_size
    labels = torch.randint(CLASSES, (options.batch_size,))
    passes: Passes = {}
    for name in ("contiguous", "channels_last"):
        layout = getattr(torch, f"{name}_format" if name == "contiguous" else name)
        network = torchvision.models.get_model(options.model, num_classes=CLASSES)
        network = network.to(memory_format=layout)
        images = torch.randn(options.batch_size, 3, side, side).to(memory_format=layout)
        everything = _optimizer(torch, network.parameters())
        head_alone = _optimizer(torch, network.fc.parameters())

        def forward(network=network, images=images):
            network.eval()
            with torch.inference_mode():
                network(images)

        def train(network=network, images=images, optimizer=everything):
            network.train().requires_grad_(True)
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(network(images), labels).backward()
            optimizer.step()

        def head(network=network, images=images, optimizer=head_alone):
            network.eval().requires_grad_(False)
            network.fc.requires_grad_(True)
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(network(images), labels).backward()
            optimizer.step()

        for key, function in zip(PASSES, (forward, train, head), strict=True):
            passes[f"{key}/{name}"] = function
    return {"torch": torch.__version__, "torchvision": torchvision.__version__}, passes


def _optimizer(torch, parameters):
    return torch.optim.SGD(parameters, lr=jaxft_side.LEARNING_RATE, momentum=MOMENTUM, foreach=True)


def jaxft_passes(options: argparse.Namespace) -> tuple[dict, Passes]:
    """What jaxft runs."""
    groups = {"train": {"early": 1.0, "late": 1.0, "head": 1.0}, "head": {"head": 1.0}}
    return jaxft_side.passes(
        options.model, CLASSES, options.batch_size, options.image_size, groups, options.cache_dir
    )


SIDES = {"torch": torch_passes, "jaxft": jaxft_passes}


def compare(options: argparse.Namespace) -> dict:
    """Runs both sides in turn and puts their medians beside each other."""
    flags = {
        key.replace("_", "-"): getattr(options, key)
        for key in ("model", "batch_size", "image_size", "threads", "cache_dir")
    }
    sides = {
        name: Side(
            sys.executable if name == "jaxft" else options.peer_python, __file__, name, flags
        )
        for name in SIDES
    }
    for _ in range(options.rounds):
        for name in PASSES:
            for side in sides.values():
                side.time(name, 1)
    for side in sides.values():
        side.close()
    result: dict = {
        "bench": "resnext",
        **{k: getattr(options, k) for k in ("model", "batch_size", "image_size", "threads")},
        "rounds": options.rounds,
        "versions": {name: side.about for name, side in sides.items()},
    }
    for name in PASSES:
        ours, peer = sides["jaxft"].median(name), sides["torch"]
        result[name] = {
            "jaxft_images_per_second": round(options.batch_size / ours, 2),
            "ratio_to_torch": round(peer.median(peer.fastest(name)) / ours, 3),
        }
    result["milliseconds"] = {name: side.table() for name, side in sides.items()}
    return result


def main() -> None:
    """Reads the flags; compares, or serves as one side's worker."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    side_by_side.add_flags(parser, SIDES)
    parser.add_argument("--model", default="resnext101_64x4d")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cache-dir", default="", help="keep jaxft's compiled programs there")
    options = parser.parse_args()
    side_by_side.limit_threads(options.threads)
    if options.worker:
        about, passes = SIDES[options.worker](options)
        for run in passes.values():
            run()
        side_by_side.serve(about, passes)
    elif options.peer_python:
        print(json.dumps(compare(options)))
    else:
        parser.error("--peer-python is needed")


if __name__ == "__main__":
    main()
