"""EfficientNet-Lite0's forward pass and full training step, beside PyTorch's, on CPU in float32.

    python bench/step_time.py --peer-python=PATH [--batch-size=64] [--image-size=64] [--rounds=7]

PATH is an interpreter that has torch; nothing else is assumed of it. Both sides run as processes
of their own with the same number of threads and are timed in turn (A B A B), so that a machine
shared with others slows both alike. PyTorch runs contiguous and channels-last, and the faster of
the two counts. The training step is forward in training mode, softmax cross-entropy over 10
classes, backward of every layer, and SGD with momentum. Prints one JSON line; a ratio is jaxft's
images per second over PyTorch's.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

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

Steps = dict[str, Callable[[], None]]


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


def torch_steps(batch_size: int, image_size: int, threads: int) -> tuple[dict, Steps]:
    """What PyTorch runs, one entry for each pass and memory layout."""
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    labels = torch.randint(CLASSES, (batch_size,))
    steps: Steps = {}
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


def jaxft_steps(batch_size: int, image_size: int, threads: int) -> tuple[dict, Steps]:
    """What jaxft runs, compiled before it is timed; compile times in seconds go with it."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxft.allocator import keep_freed_memory
    from jaxft.models.efficientnet_lite import body

    keep_freed_memory()  # as every jaxft command does
    network = body("efficientnet_lite0")
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(batch_size, image_size, image_size, 3)), jnp.float32)
    labels = jnp.asarray(rng.integers(CLASSES, size=batch_size))

    def logits(params, stats, images, train):
        early, early_stats = network.early.apply(
            {"params": params["early"], "batch_stats": stats["early"]},
            images, train=train, mutable=["batch_stats"],
        )  # fmt: skip
        late, late_stats = network.late.apply(
            {"params": params["late"], "batch_stats": stats["late"]},
            early, train=train, mutable=["batch_stats"],
        )  # fmt: skip
        stats = {"early": early_stats["batch_stats"], "late": late_stats["batch_stats"]}
        return jnp.mean(late, (1, 2)) @ params["head"]["kernel"] + params["head"]["bias"], stats

    def init(key):
        early, late = network.early, network.late
        x, early = early.init_with_output(key, images[:1], train=False)
        _, late = late.init_with_output(key, x, train=False)
        head = {"kernel": jnp.zeros((network.channels, CLASSES)), "bias": jnp.zeros(CLASSES)}
        params = {"early": early["params"], "late": late["params"], "head": head}
        stats = {"early": early["batch_stats"], "late": late["batch_stats"]}
        return params, stats, jax.tree.map(jnp.zeros_like, params)

    def loss(params, stats, images, labels):
        scores, stats = logits(params, stats, images, True)
        picked = jnp.take_along_axis(jax.nn.log_softmax(scores), labels[:, None], axis=1)
        return -jnp.mean(picked), stats

    def step(state, images, labels):
        params, stats, momenta = state
        grads, stats = jax.grad(loss, has_aux=True)(params, stats, images, labels)
        momenta = jax.tree.map(lambda m, g: MOMENTUM * m + g, momenta, grads)
        params = jax.tree.map(lambda p, m: p - LEARNING_RATE * m, params, momenta)
        return params, stats, momenta

    state = jax.jit(init)(jax.random.key(0))
    infer = jax.jit(lambda params, stats, images: logits(params, stats, images, False)[0])
    start = time.perf_counter()
    infer = infer.lower(*state[:2], images).compile()
    compiled_forward = time.perf_counter()
    step = jax.jit(step, donate_argnums=0).lower(state, images, labels).compile()
    seconds = {"forward": compiled_forward - start, "train": time.perf_counter() - compiled_forward}

    def forward():
        infer(*state[:2], images).block_until_ready()

    def train():
        nonlocal state
        state = jax.block_until_ready(step(state, images, labels))

    return {"jax": jax.__version__, "compile_seconds": seconds}, {
        "forward": forward,
        "train": train,
    }


SIDES = {"torch": torch_steps, "jaxft": jaxft_steps}


def serve(side: str, batch_size: int, image_size: int, threads: int) -> None:
    """A worker: for each line `PASS REPEATS` on stdin, times that pass and prints the seconds."""
    about, steps = SIDES[side](batch_size, image_size, threads)
    for step in steps.values():
        step()
        step()
    print(json.dumps(about | {"passes": list(steps)}), flush=True)
    for line in sys.stdin:
        name, repeats = line.split()
        seconds = []
        for _ in range(int(repeats)):
            start = time.perf_counter()
            steps[name]()
            seconds.append(time.perf_counter() - start)
        print(json.dumps(seconds), flush=True)


class Worker:
    """One side, in a process of its own, which computes only when asked."""

    def __init__(self, python: str, side: str, options: argparse.Namespace) -> None:
        command = [python, __file__, f"--worker={side}"]
        command += [f"--{k}={getattr(options, k.replace('-', '_'))}" for k in SHARED_OPTIONS]
        root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path},
        )
        self.about = self._answer()
        self.seconds: dict[str, list[float]] = {name: [] for name in self.about.pop("passes")}

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the worker died: {' '.join(self.process.args)}")
        return json.loads(line)

    def time(self, prefix: str, repeats: int) -> None:
        """Times every pass whose name begins so."""
        for name in self.seconds:
            if name.startswith(prefix):
                self.process.stdin.write(f"{name} {repeats}\n")
                self.process.stdin.flush()
                self.seconds[name] += self._answer()

    def close(self) -> None:
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()

    def summary(self, prefix: str, batch_size: int) -> dict:
        """Milliseconds and images per second of the fastest way of this pass."""
        ways = {k: v for k, v in self.seconds.items() if k.startswith(prefix)}
        way = min(ways, key=lambda name: statistics.median(ways[name]))
        lower, median, upper = statistics.quantiles(ways[way], n=4)
        return {
            "way": way,
            "median_ms": round(median * 1e3, 2),
            "quartiles_ms": [round(lower * 1e3, 2), round(upper * 1e3, 2)],
            "images_per_second": round(batch_size / median, 1),
            "medians_ms": {k: round(statistics.median(v) * 1e3, 2) for k, v in ways.items()},
        }


SHARED_OPTIONS = ("batch-size", "image-size", "threads")


def compare(options: argparse.Namespace) -> dict:
    """Runs both sides in turn and puts their medians beside each other."""
    jaxft = Worker(sys.executable, "jaxft", options)
    peer = Worker(options.peer_python, "torch", options)
    for _ in range(options.rounds):
        for name in ("forward", "train"):
            for worker in (jaxft, peer):
                worker.time(name, options.repeats)
    jaxft.close()
    peer.close()
    result = {
        "bench": "step_time",
        "model": "efficientnet_lite0",
        **{k: getattr(options, k) for k in ("batch_size", "image_size", "threads", "rounds")},
        "versions": {"python": sys.version.split()[0], **jaxft.about, **peer.about},
    }
    for name in ("forward", "train"):
        ours = jaxft.summary(name, options.batch_size)
        theirs = peer.summary(name, options.batch_size)
        ratio = round(ours["images_per_second"] / theirs["images_per_second"], 3)
        result[name] = {"ratio": ratio, "jaxft": ours, "torch": theirs}
    return result


def main() -> None:
    """Reads the flags; compares, or serves as one side's worker."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer-python", help="an interpreter that has torch")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=3, help="steps of a pass in each round")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--worker", choices=sorted(SIDES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    # JAX takes its thread count from the cores it may use.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    if options.worker:
        serve(options.worker, options.batch_size, options.image_size, options.threads)
    elif options.peer_python:
        print(json.dumps(compare(options)))
    else:
        parser.error("--peer-python is needed")


if __name__ == "__main__":
    main()
