"""Every convolution of the network compiled and run once: which of them the device cannot do."""

import jax

from pieces import convolutions, layers, network
from pieces.layers import Counted
from pieces.report import Report, seconds_of
from pieces.setting import Setting


def smoke(setting: Setting, report: Report) -> None:
    """A line for each grouped 3x3 shape, each 1x1 shape and the stem; one names what failed."""
    network.start(report)
    found = network.convolutions(network.create(setting), setting.image_size)
    chosen = [*layers.grouped(found), layers.stem(found), *layers.pointwise(found)]
    failed = []
    for counted in chosen[: 3 if setting.tiny else None]:
        before = report.errors
        once(setting, report, counted)
        failed += [counted.layer.name] * (report.errors - before)
    devices = [str(device) for device in jax.devices()]
    report.line("smoke", convolutions=len(chosen), failed=failed, devices=devices)


def once(setting: Setting, report: Report, counted: Counted) -> None:
    """Compiles the convolution with both gradients and runs it; its results must be numbers."""
    layer, seconds = counted.layer, list[float]()
    with report.guard("convolution", shape=layer.name, count=counted.count):
        program = jax.jit(convolutions.program_of(convolutions.of_jaxft(layer), "all"))
        arrays = convolutions.random(convolutions.shapes(layer, setting.batch), seed=0)
        with seconds_of(seconds):
            compiled = program.lower(*arrays).compile()
        sums = [float(abs(array.astype("float32")).mean()) for array in compiled(*arrays)]
        if not all(0 < total < float("inf") for total in sums):
            raise ArithmeticError(f"means of y, dx and dk: {sums}")
        facts = {"shape": layer.name, "count": counted.count, "compile_seconds": seconds[0]}
        report.line("convolution", **facts)
