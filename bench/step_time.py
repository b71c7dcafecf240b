"""EfficientNet-Lite0's inference and full training step, beside PyTorch's, on CPU in float32.

    python bench/step_time.py --peer-python=PATH [--batch-size=64] [--image-size=64] [--rounds=7]

PATH is an interpreter that has torch; nothing else is assumed of it. Both sides run as processes
of their own with the same number of threads and are timed in turn (A B A B), so that a machine
shared with others slows both alike. jaxft runs its own step and inference as `jaxft train` does,
canvas to view and normalisation included; PyTorch gets normalised tensors. PyTorch runs contiguous
and channels-last, and the faster of the two counts; a third side is PyTorch with the allocator
setting that jaxft makes for itself. The training step is forward in training mode, softmax
cross-entropy over 10 classes, backward of every layer, and SGD with momentum; average pooling and
one linear layer on both sides. Prints one JSON line; a ratio is jaxft's images per second over
PyTorch's.
"""

import argparse
import json
import sys

import jaxft_side
import side_by_side
from side_by_side import Passes, Side

CLASSES = 10
LEARNING_RATE = 0.01
MOMENTUM = 0.9
# Repeats, kernel size, stride, expansion, channels: arXiv:1905.11946, table 1.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def torch_network():
    """EfficientNet-Lite0 in plain torch.nn, TensorFlow's SAME padding, a linear layer on top."""
    from torch import nn
    from torch.nn import functional as F

    class Pad(nn.Module):
        """TensorFlow's SAME for stride 2: the odd pixel of padding goes to the right and below."""

        def __init__(self, size):
            super().__init__()
            self.size = size

        def forward(self, x):
            height, width = (max(self.size - (2 - n % 2), 0) for n in x.shape[2:])
            return F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))

    def layer(inputs, outputs, size=1, stride=1, groups=1, relu=True):
        padding = size // 2 if stride == 1 else 0
        return nn.Sequential(
            *([Pad(size)] if stride == 2 else []),
            nn.Conv2d(inputs, outputs, size, stride, padding, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, eps=1e-3),
            *([nn.ReLU6(inplace=True)] if relu else []),
        )

    class Block(nn.Module):
        def __init__(self, inputs, size, stride, expand, outputs):
            super().__init__()
            inside = inputs * expand
            self.shortcut = stride == 1 and inputs == outputs
            self.layers = nn.Sequential(
                *([layer(inputs, inside)] if expand > 1 else []),
                layer(inside, inside, size, stride, inside),
                layer(inside, outputs, relu=False),
            )

        def forward(self, x):
            return x + self.layers(x) if self.shortcut else self.layers(x)

    blocks, inputs = [], 32
    for repeats, size, stride, expand, outputs in STAGES:
        for repeat in range(repeats):
            blocks.append(Block(inputs, size, stride if repeat == 0 else 1, expand, outputs))
            inputs = outputs
    return nn.Sequential(
        layer(3, 32, 3, 2),
        *blocks,
        layer(320, 1280),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(1280, CLASSES),
    )


def torch_steps(batch_size: int, image_size: int, threads: int) -> tuple[dict, Passes]:
    """PyTorch's programs, one for each pass and memory layout."""
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    labels = torch.randint(CLASSES, (batch_size,))
    steps: Passes = {}
    for name in ("contiguous", "channels_last"):
        layout = getattr(torch, f"{name}_format" if name == "contiguous" else name)
        network = torch_network().to(memory_format=layout)
        images = torch.randn(batch_size, 3, image_size, image_size).to(memory_format=layout)
        optimizer = torch.optim.SGD(
            network.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, foreach=True
        )

        def forward(network=network, images=images):
            network.eval()
            with torch.inference_mode():
                network(images)

        def train(network=network, images=images, optimizer=optimizer):
            network.train()
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(network(images), labels).backward()
            optimizer.step()

        steps[f"forward/{name}"], steps[f"train/{name}"] = forward, train
    return {"torch": torch.__version__}, steps


def tuned_torch_steps(batch_size: int, image_size: int, threads: int) -> tuple[dict, Passes]:
    """PyTorch with freed memory kept, as jaxft keeps it."""
    from jaxft.runtime import allocator  # imports neither JAX nor anything else

    allocator.keep_freed_memory()
    return torch_steps(batch_size, image_size, threads)


def jaxft_steps(batch_size: int, image_size: int, threads: int) -> tuple[dict, Passes]:
    """Programs of jaxft, one for each pass."""
    groups = {"train": {"early": 1.0, "late": 1.0, "head": 1.0}}
    return jaxft_side.passes("efficientnet_lite0", CLASSES, batch_size, image_size, groups)


SIDES = {"torch": torch_steps, "tuned_torch": tuned_torch_steps, "jaxft": jaxft_steps}


def serve(options: argparse.Namespace) -> None:
    """A worker: both passes twice, then as asked."""
    about, passes = SIDES[options.worker](options.batch_size, options.image_size, options.threads)
    for run in passes.values():
        run()
        run()
    side_by_side.serve(about, passes)


def compare(options: argparse.Namespace) -> dict:
    """Runs all sides in turn and puts their medians beside each other."""
    flags = {
        "batch-size": options.batch_size,
        "image-size": options.image_size,
        "threads": options.threads,
    }
    sides = {
        name: Side(
            sys.executable if name == "jaxft" else options.peer_python, __file__, name, flags
        )
        for name in ("jaxft", "torch", "tuned_torch")
    }
    for _ in range(options.rounds):
        for name in ("forward", "train"):
            for side in sides.values():
                side.time(name, options.repeats)
    for side in sides.values():
        side.close()
    result: dict = {
        "bench": "step_time",
        "model": "efficientnet_lite0",
        **{k: getattr(options, k) for k in ("batch_size", "image_size", "threads", "rounds")},
        "versions": {
            "python": sys.version.split()[0],
            **sides["jaxft"].about,
            **sides["torch"].about,
        },
    }
    for name in ("forward", "train"):
        ours = sides["jaxft"].median(name)
        result[name] = {
            "jaxft_images_per_second": round(options.batch_size / ours, 1),
            **{
                f"ratio_to_{peer}": round(sides[peer].median(sides[peer].fastest(name)) / ours, 3)
                for peer in ("torch", "tuned_torch")
            },
        }
    result["milliseconds"] = {name: side.table() for name, side in sides.items()}
    return result


def main() -> None:
    """Reads the flags; compares, or serves as one side's worker."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    side_by_side.add_flags(parser, SIDES)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=3, help="steps of a pass in each round")
    options = parser.parse_args()
    side_by_side.limit_threads(options.threads)
    if options.worker:
        serve(options)
    elif options.peer_python:
        print(json.dumps(compare(options)))
    else:
        parser.error("--peer-python is needed")


if __name__ == "__main__":
    main()
