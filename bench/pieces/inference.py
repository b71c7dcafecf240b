"""The extraction of features: how fast, and how far from float32."""

from functools import partial

import jax
import numpy as np

from jaxft.augment.presets import PRESETS
from jaxft.costs.hlo import computations
from jaxft.costs.traffic import touched
from jaxft.data.images.sizing import canvas_size
from jaxft.devices import sharding
from jaxft.features.inference import make_forward
from pieces import clock, layers, network
from pieces.report import Report, seconds_of
from pieces.setting import Setting


def fused(setting: Setting, report: Report) -> None:
    """Features of a batch of images in bfloat16, BatchNorm folded; their error beside float32."""
    network.start(report)
    mesh, side = sharding.data_mesh(1), canvas_size(setting.image_size)
    weights = sharding.replicate(network.weights(network.create(setting)), mesh)
    random = np.random.default_rng(0)
    shape = (setting.batch, side, side, 3)
    canvases = [
        sharding.split_batch(random.integers(256, size=shape, dtype=np.uint8), mesh)
        for _ in range(2)
    ]
    work = network.convolutions(network.create(setting), setting.image_size)
    kept, seconds = {}, list[float]()
    for dtype in ("bfloat16", "float32"):
        model = network.create(setting, dtype)
        forward = make_forward(model, PRESETS["none"], setting.image_size, mesh)
        precision = "highest" if dtype == "float32" else "default"
        with report.guard("features", lowering=dtype), jax.default_matmul_precision(precision):
            folded = forward.fold(weights)
            with seconds_of(seconds):
                compiled = forward.features.lower(folded, canvases[0]).compile()
            kept[dtype] = np.asarray(compiled(folded, canvases[0]), np.float64)
            calls = [partial(compiled, folded, c) for c in canvases]
            timing = clock.time_calls(setting, calls, jax.block_until_ready)
            report.figure(
                "features",
                timing,
                flop=layers.flop(work, setting.batch),
                moved=layers.moved(work, setting.batch),
                images=setting.batch,
                lowering=dtype,
                shape=f"{setting.image_size} px, {setting.batch} images",
                touched_gb=touched(computations(compiled.as_text())) / 1e9,
                compile_seconds=seconds[-1],
                peak_bytes=network.peak_bytes(),
            )
    if len(kept) == 2:
        error = ratio(kept["bfloat16"], kept["float32"])
        report.line("error", lowering="bfloat16", of="features", error_ratio=error)


def ratio(found: np.ndarray, wanted: np.ndarray) -> float:
    """The norm of the difference over the norm of what is wanted."""
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))
