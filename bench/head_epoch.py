"""Head epochs from cached features, and 45 of them with their extraction, beside PyTorch's.

    python bench/head_epoch.py --peer-python=PATH [--rounds=5] [--image-rounds=1]

PATH is an interpreter that has torch; nothing else is assumed of it. Part one trains the head
2560 -> 512 -> 10 (BatchNorm, dropout, ReLU; batch 64) for epochs over 4,096 feature vectors:
jaxft's compiled epoch, against a PyTorch loop over TensorDataset + DataLoader and one over tensors
on hand. Part two: 45 epochs of the head on EfficientNet-Lite0's features of 640 images of 160
pixels. jaxft extracts once and trains 45 cached epochs (compilation counted); PyTorch runs body
(frozen, inference mode, channels-last) and head on every batch of 45 epochs. Both have their images
as uint8 in memory: no decoding is charged to either.

Both sides run as processes of their own, in turn, A B A B. Prints one JSON line; a ratio is jaxft's
images per second over the peer's.
"""

import argparse
import json
import sys
import tempfile

import side_by_side
import step_time
from side_by_side import Passes, Side

CLASSES, FEATURES, HIDDEN, BATCH = 10, 2560, 512, 64
EXAMPLES = 4096
PHOTOS, PHOTO_SIZE, EPOCHS = 640, 160, 45


def torch_head():
    """The head that jaxft trains, in torch.nn."""
    from torch import nn

    return nn.Sequential(
        nn.BatchNorm1d(FEATURES),
        nn.Dropout(0.25),
        nn.Linear(FEATURES, HIDDEN),
        nn.ReLU(),
        nn.BatchNorm1d(HIDDEN),
        nn.Dropout(0.5),
        nn.Linear(HIDDEN, CLASSES),
    )


def torch_sides(threads: int) -> tuple[dict, Passes]:
    """The peer's loops: over a DataLoader, over tensors on hand, and 45 frozen epochs."""
    import torch
    from torch.nn import functional as F
    from torch.utils.data import DataLoader, TensorDataset

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    features, labels = torch.randn(EXAMPLES, FEATURES), torch.randint(CLASSES, (EXAMPLES,))
    loader = DataLoader(TensorDataset(features, labels), BATCH, shuffle=True, drop_last=True)

    def trainer():
        head = torch_head().train()
        optimizer = torch.optim.SGD(head.parameters(), lr=0.01, momentum=0.9, foreach=True)

        def train(x, y):
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(head(x), y).backward()
            optimizer.step()

        return train

    train = trainer()

    def over_loader():
        for x, y in loader:
            train(x, y)

    def on_hand():
        order = torch.randperm(EXAMPLES)
        for first in range(0, EXAMPLES - BATCH + 1, BATCH):
            index = order[first : first + BATCH]
            train(features[index], labels[index])

    photos = torch.randint(256, (PHOTOS, 3, PHOTO_SIZE, PHOTO_SIZE), dtype=torch.uint8)
    photo_labels = torch.randint(CLASSES, (PHOTOS,))
    body = step_time.torch_network()[:-3].eval().to(memory_format=torch.channels_last)

    def frozen_epochs():
        train = trainer()
        for _ in range(EPOCHS):
            order = torch.randperm(PHOTOS)
            for first in range(0, PHOTOS, BATCH):
                index = order[first : first + BATCH]
                x = (photos[index].float() - 127) / 128
                with torch.no_grad():
                    maps = body(x.to(memory_format=torch.channels_last))
                    pooled = torch.cat([maps.amax((2, 3)), maps.mean((2, 3))], 1)
                train(pooled, photo_labels[index])

    return {"torch": torch.__version__}, {
        "head/loader": over_loader,
        "head/on_hand": on_hand,
        "images": frozen_epochs,
    }


def jaxft_sides(threads: int) -> tuple[dict, Passes]:
    """jaxft's compiled epoch, and extraction followed by 45 of them."""
    import jax
    import numpy as np

    from jaxft.augment.presets import PRESETS
    from jaxft.config import load
    from jaxft.configs import base
    from jaxft.data import Batch
    from jaxft.devices import sharding
    from jaxft.features import inference
    from jaxft.features.inference import make_forward
    from jaxft.models.registry import create
    from jaxft.models.variables import Weights
    from jaxft.recipe import optim
    from jaxft.runtime.set_up import set_up
    from jaxft.training import step
    from jaxft.training.spec import StepSpec

    config = base.get_config()
    config.cache_dir = tempfile.mkdtemp()
    config.phases = (base.phase(inputs="cached", lr=0.01, epochs=EPOCHS),)
    settings = load.read(config)
    set_up(settings.cache_dir)  # as every jaxft command does
    phase = settings.phases[0]
    mesh = sharding.data_mesh(1)
    model = create("efficientnet_lite0", CLASSES)
    weights = Weights(*jax.jit(model.init)(jax.random.key(0)))
    weights = sharding.replicate(weights, mesh)
    rng = np.random.default_rng(0)
    seed = sharding.replicate(np.int32(0), mesh)
    rates = sharding.replicate(np.full(1_000_000, 0.01, np.float32), mesh)

    def epoch_runner(examples):
        tx = optim.transformation(phase.groups, settings.optimizer)
        spec = StepSpec(model, phase, 0, tx, PRESETS["none"], PHOTO_SIZE, BATCH, examples)
        return spec, step.make_epoch(spec, mesh, spec.steps_per_epoch)

    spec, epoch = epoch_runner(EXAMPLES)
    features = sharding.replicate(rng.normal(size=(EXAMPLES, FEATURES)).astype("f4"), mesh)
    labels = sharding.replicate(rng.integers(CLASSES, size=EXAMPLES).astype("i4"), mesh)
    state, frozen = step.start(spec, weights)
    state = sharding.replicate(state, mesh)

    def head():
        nonlocal state
        state, losses = epoch(state, frozen, features, labels, rates, seed)
        losses.block_until_ready()

    # The canvas is what jaxft's host hands over; the device resizes it to PHOTO_SIZE.
    side = -(-PHOTO_SIZE * 11 // 10)
    photos = rng.integers(256, size=(PHOTOS, side, side, 3)).astype("u1")
    photo_labels = rng.integers(CLASSES, size=PHOTOS).astype("i4")

    def cached_epochs():
        jax.clear_caches()  # compilation counts
        forward = make_forward(model, PRESETS["none"], PHOTO_SIZE, mesh)
        index = np.arange(BATCH, dtype=np.int32)
        batches = (
            Batch(photos[i : i + BATCH], photo_labels[i : i + BATCH], index, index >= 0)
            for i in range(0, PHOTOS, BATCH)
        )
        found = sharding.replicate(inference.extract(forward, weights, batches, mesh), mesh)
        held = sharding.replicate(photo_labels, mesh)
        spec, epoch = epoch_runner(PHOTOS)
        state, frozen = step.start(spec, weights)
        state = sharding.replicate(state, mesh)
        for _ in range(EPOCHS):
            state, losses = epoch(state, frozen, found, held, rates, seed)
        losses.block_until_ready()

    return {"jax": jax.__version__}, {"head/epoch": head, "images": cached_epochs}


SIDES = {"torch": torch_sides, "jaxft": jaxft_sides}


def serve(side: str, threads: int) -> None:
    """A worker: the heads once, then as asked."""
    about, passes = SIDES[side](threads)
    for name, run in passes.items():
        if name.startswith("head"):
            run()
    side_by_side.serve(about, passes)


def compare(options: argparse.Namespace) -> dict:
    """Runs both sides in turn and puts their medians beside each other."""
    flags = {"threads": options.threads}
    jaxft = Side(sys.executable, __file__, "jaxft", flags)
    peer = Side(options.peer_python, __file__, "torch", flags)
    for number in range(options.rounds):
        for side in (jaxft, peer):
            side.time("head", 3)
        if number < options.image_rounds:
            for side in (jaxft, peer):
                side.time("images", 1)
    jaxft.close()
    peer.close()
    ours = jaxft.median("head/epoch")
    ratios = {
        "head_over_loader": peer.median("head/loader") / ours,
        "head_over_tensors_on_hand": peer.median("head/on_hand") / ours,
    }
    if options.image_rounds:
        ratios["45_epochs"] = peer.median("images") / jaxft.median("images")
    return {
        "bench": "head_epoch",
        "ratios": {name: round(ratio, 2) for name, ratio in ratios.items()},
        "images_per_second": round(EXAMPLES / ours),
        "milliseconds": {"jaxft": jaxft.table(), "torch": peer.table()},
        "threads": options.threads,
        "versions": {"python": sys.version.split()[0], **jaxft.about, **peer.about},
    }


def main() -> None:
    """Reads the flags; compares, or serves as one side's worker."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    side_by_side.add_flags(parser, SIDES)
    parser.add_argument("--rounds", type=int, default=5, help="of part one, three epochs each")
    parser.add_argument("--image-rounds", type=int, default=1, help="of part two; 0 = none")
    options = parser.parse_args()
    side_by_side.limit_threads(options.threads)
    if options.worker:
        serve(options.worker, options.threads)
    elif options.peer_python:
        print(json.dumps(compare(options)))
    else:
        parser.error("--peer-python is needed")


if __name__ == "__main__":
    main()
