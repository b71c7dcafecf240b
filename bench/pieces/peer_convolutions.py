"""PyTorch's convolutions and maximum, beside those of convolutions.py: channels-last, bfloat16."""

from collections.abc import Callable
from functools import partial
from typing import Any

from pieces import clock, layers, peer
from pieces.layers import BF16, Counted, Layer
from pieces.report import Report
from pieces.setting import Setting


def grouped(setting: Setting, report: Report) -> None:
    """Every grouped 3x3 shape of the network."""
    if peer.start(report) is not None:
        found = layers.grouped(peer.convolutions(setting))
        for counted in found[: 1 if setting.tiny else None]:
            _time(setting, report, counted)


def pointwise(setting: Setting, report: Report) -> None:
    """Every 1x1 shape, and the stem."""
    if peer.start(report) is not None:
        found = peer.convolutions(setting)
        chosen = layers.pointwise(found)[: 1 if setting.tiny else None]
        for counted in [*chosen, layers.stem(found)]:
            _time(setting, report, counted)


def pool(setting: Setting, report: Report) -> None:
    """The maximum after the stem, and its gradient."""
    torch = peer.start(report)
    if torch is None:
        return
    side, images = setting.image_size // 2, setting.batch
    moved = BF16 * images * 64 * (side**2 + (side // 2) ** 2)
    sets = []
    for _ in range(setting.sets(moved)):
        x = _random((images, 64, side, side)).requires_grad_()
        y = torch.nn.functional.max_pool2d(x, 3, 2, 1)
        sets.append((x, y, _random(tuple(y.shape))))
    forward = [partial(torch.nn.functional.max_pool2d, x.detach(), 3, 2, 1) for x, _, _ in sets]
    back = [partial(torch.autograd.grad, y, x, dy, retain_graph=True) for x, y, dy in sets]
    facts = {"lowering": "torch", "shape": f"{side} px, 64"}
    for direction, calls in (("y", forward), ("dx", back)):
        with report.guard("pool", direction=direction, **facts):
            timing = clock.time_calls(setting, calls, peer.wait)
            report.figure("pool", timing, moved=moved, direction=direction, **facts)


def _time(setting: Setting, report: Report, counted: Counted) -> None:
    layer = counted.layer
    facts = {"shape": layer.name, "count": counted.count, "lowering": "torch"}
    sets = [_arrays(layer, setting.batch) for _ in range(setting.sets(layer.moved(setting.batch)))]
    for direction, program in _programs(layer).items():
        with report.guard("convolution", direction=direction, **facts):
            timing = clock.time_calls(setting, [partial(program, *s) for s in sets], peer.wait)
            report.figure(
                "convolution",
                timing,
                flop=layer.flop(setting.batch),
                moved=layer.moved(setting.batch),
                direction=direction,
                peak_bytes=peer.peak_bytes(),
                **facts,
            )


def _programs(layer: Layer) -> dict[str, Callable[[Any, Any, Any], Any]]:
    """Direction -> (x, kernel, dy) -> what is timed."""
    import torch

    stride, pad, one = [layer.stride] * 2, [layer.size // 2] * 2, [1, 1]

    def forward(x: Any, kernel: Any, _: Any) -> Any:
        return torch.nn.functional.conv2d(x, kernel, None, stride, pad, one, layer.groups)

    def backward(mask: list[bool], x: Any, kernel: Any, dy: Any) -> Any:
        return torch.ops.aten.convolution_backward(
            dy, x, kernel, None, stride, pad, one, False, [0, 0], layer.groups, mask
        )

    masks = {"dx": [True, False, False], "dk": [False, True, False]}
    return {"y": forward, **{name: partial(backward, mask) for name, mask in masks.items()}}


def _arrays(layer: Layer, batch: int) -> tuple[Any, Any, Any]:
    """x, kernel and dy."""
    return (
        _random((batch, layer.inputs, layer.pixels, layer.pixels)),
        _random((layer.outputs, layer.inputs // layer.groups, layer.size, layer.size)),
        _random((batch, layer.outputs, layer.out_pixels, layer.out_pixels)),
    )


def _random(shape: tuple[int, ...]) -> Any:
    import torch

    numbers = torch.randn(shape, device=peer.device(), dtype=torch.bfloat16)
    return numbers.to(memory_format=torch.channels_last)
