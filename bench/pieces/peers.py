"""PyTorch's networks: forward, a step of the head alone, a full train step; eager and compiled."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from pieces import clock, layers, peer
from pieces.report import Report
from pieces.setting import Setting

LEARNING_RATE, MOMENTUM = 0.01, 0.9
PASSES = ("forward", "head", "train")
LITE = ((224, 512), (64, 64))  # pixels, batch


def eager(setting: Setting, report: Report) -> None:
    """The network as it is."""
    _network(setting, report, compiled=False)


def compiled(setting: Setting, report: Report) -> None:
    """The network through torch.compile."""
    _network(setting, report, compiled=True)


def _network(setting: Setting, report: Report, compiled: bool) -> None:
    if peer.start(report) is None:
        return
    work = layers.flop(peer.convolutions(setting), setting.batch)
    make = partial(peer.network, setting)
    size = (setting.batch, setting.image_size)
    passes = PASSES[-1:] if setting.tiny and compiled else PASSES
    time_passes(setting, report, make, size, compiled, passes, work)


def lite(setting: Setting, report: Report) -> None:
    """timm's EfficientNet-Lite0, or the same in plain torch.nn where there is no timm."""
    torch = peer.start(report)
    if torch is None:
        return
    for pixels, batch in ((32, 2),) if setting.tiny else LITE:
        for compiled in (False,) if setting.tiny else (False, True):
            time_passes(
                setting, report, _lite0, (batch, pixels), compiled, ("forward", "train"), None
            )


def _lite0() -> Any:
    import torch

    try:
        import timm
    except ImportError:
        import step_time

        found = step_time.torch_network()
    else:
        found = timm.create_model("tf_efficientnet_lite0", num_classes=10)
    return found.to(peer.device(), memory_format=torch.channels_last)


def inference(setting: Setting, report: Report) -> None:
    """The body and its head in inference, BatchNorm folded into the convolutions."""
    torch = peer.start(report)
    if torch is None:
        return
    from torch.fx.experimental import optimization

    def folded() -> Any:
        fused = optimization.fuse(peer.network(setting).eval())
        return fused.to(memory_format=torch.channels_last)

    work = layers.flop(peer.convolutions(setting), setting.batch)
    size = (setting.batch, setting.image_size)
    for compiled in (False,) if setting.tiny else (False, True):
        time_passes(setting, report, folded, size, compiled, ("forward",), work)


def time_passes(
    setting: Setting,
    report: Report,
    make: Callable[[], Any],
    size: tuple[int, int],
    compiled: bool,
    passes: tuple[str, ...],
    forward_flop: float | None,
) -> None:
    """A line for each pass of a network on a batch of (images, pixels)."""
    import torch

    batch, pixels = size
    facts: dict[str, Any] = {"lowering": "torch.compile" if compiled else "eager"}
    facts["shape"] = f"{pixels} px, {batch} images"
    for name in passes:
        with report.guard(name, **facts):
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            call = ready(make(), size, name, compiled)
            started = time.perf_counter()
            call()
            peer.wait()
            seconds = time.perf_counter() - started
            timing = clock.time_calls(setting, [call], peer.wait)
            flop = forward_flop and forward_flop * (3 if name == "train" else 1)
            memory = peer.peak_bytes()
            more = {"compile_seconds": seconds, "peak_bytes": memory, **facts}
            report.figure(name, timing, flop=flop, images=batch, **more)
        torch.compiler.reset()


def ready(model: Any, size: tuple[int, int], name: str, compiled: bool) -> Callable[[], Any]:
    """A call that runs one pass on a random batch, in bfloat16 by autocast."""
    import torch

    batch, pixels = size
    x = torch.randn(batch, 3, pixels, pixels, device=peer.device())
    x = x.to(memory_format=torch.channels_last)
    label = torch.zeros(batch, dtype=torch.long, device=peer.device())
    model = model.train() if name == "train" else model.eval()
    last = _last_layer(model)
    if name == "head":
        model.requires_grad_(False)
        last.requires_grad_(True)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=LEARNING_RATE, momentum=MOMENTUM)
    function = torch.compile(model) if compiled else model

    def forward() -> Any:
        with torch.inference_mode(), cast():
            return function(x)

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        with cast():
            logits = function(x)
        loss = torch.nn.functional.cross_entropy(logits.float(), label)
        loss.backward()
        optimizer.step()
        return loss

    return forward if name == "forward" else step


def cast() -> Any:
    """bfloat16 where PyTorch would use it."""
    import torch

    return torch.autocast(peer.device(), torch.bfloat16)


def _last_layer(model: Any) -> Any:
    import torch

    return [m for m in model.modules() if isinstance(m, torch.nn.Linear)][-1]
