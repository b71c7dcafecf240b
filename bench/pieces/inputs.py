"""Batches to the device: from images in memory, and from JPEG files that are decoded each time."""

import time
from typing import Any

import jax

from jaxft.data.batches import Stretch, train_batches
from jaxft.data.images.memory import Images, Memory
from jaxft.data.images.sizing import Sizing, canvas_size
from jaxft.data.slots import Slots
from jaxft.data.sources.registry import open_dataset
from jaxft.runtime.process import cores
from pieces import network, photos
from pieces.clock import Timing
from pieces.report import Report
from pieces.setting import Setting

FIRST = 6  # batches that are read ahead: the clock starts after them
MEMORIES = {"memory": 2**40, "files": 0}  # bytes for decoded images


def with_jax(setting: Setting, report: Report) -> None:
    """A line for each way: milliseconds a batch, over whole rounds."""
    network.start(report)
    split = open_dataset(f"folder:{photos.folder(setting)}", valid_fraction=0.2).train
    side = canvas_size(setting.image_size)
    for name, limit in MEMORIES.items():
        shape = f"{setting.batch} canvases of {side} px"
        with report.guard("batch", lowering=name, shape=shape):
            images = Images(split, Sizing(side), Memory(limit))
            if limit:
                for index in range(len(images)):
                    images[index]
            timing = rounds(setting, images)
            moved = float(setting.batch * side**2 * 3)
            facts = {"lowering": name, "shape": shape, "cores": cores()}
            report.figure("batch", timing, moved=moved, images=setting.batch, **facts)


def rounds(setting: Setting, images: Images) -> Timing:
    """Times rounds of so many batches, each until it is on the device."""
    steps = 2 if setting.tiny else 16
    ms = []
    with train_batches(
        images,
        images.split.labels,
        slots=Slots(setting.batch),
        canvas=images.shorter_side,
        stretch=Stretch(0, 0, FIRST + steps * setting.rounds),
        finish=placed,
    ) as feed:
        for _ in range(FIRST):
            jax.block_until_ready(next(feed))
        for _ in range(setting.rounds):
            started = time.perf_counter()
            for _ in range(steps):
                jax.block_until_ready(next(feed))
            ms.append(1e3 * (time.perf_counter() - started) / steps)
    return Timing(tuple(ms), steps)


def placed(batch: Any) -> Any:
    """A batch on the device."""
    return jax.device_put((batch.image, batch.label))
