"""EfficientNet-Lite0: inference and the train step, depthwise convolutions in two lowerings."""

import jax

from pieces import clock, layers, network
from pieces.ideas import ALL_GROUPS
from pieces.report import Report, seconds_of
from pieces.setting import Setting

MODEL, CLASSES = "efficientnet_lite0", 10
SIZES = ((224, 512), (64, 64))  # pixels, batch
LOWERINGS = ("native", "shifts")


def with_jax(setting: Setting, report: Report) -> None:
    """A line for each size, lowering and pass."""
    import jaxft_side
    from jaxft.models.registry import create

    network.start(report)
    name = setting.model if setting.tiny else MODEL
    for pixels, batch in ((32, 2),) if setting.tiny else SIZES:
        body = create(name, CLASSES, hidden=(), pooling="avg")
        flop = layers.flop(network.convolutions(body, pixels), batch)
        for lowering in LOWERINGS[:1] if setting.tiny else LOWERINGS:
            model = {"name": name, "classes": CLASSES, "dtype": "bfloat16", "conv": lowering}
            shape = f"{pixels} px, {batch} images"
            with report.guard("programs", lowering=lowering, shape=shape):
                groups = {"train": ALL_GROUPS}
                found = jaxft_side.programs(model, batch, pixels, groups, setting.folder)
            for what, call in found:
                with report.guard(what, lowering=lowering, shape=shape):
                    seconds: list[float] = []
                    with seconds_of(seconds):
                        jax.block_until_ready(call())
                    timing = clock.time_calls(setting, [call], jax.block_until_ready)
                    report.figure(
                        what,
                        timing,
                        flop=flop * (3 if what == "train" else 1),
                        images=batch,
                        lowering=lowering,
                        shape=shape,
                        compile_seconds=seconds[0],
                        peak_bytes=network.peak_bytes(),
                    )
