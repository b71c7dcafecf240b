"""PyTorch's side: there or not, on which device, and the network as torchvision builds it."""

from typing import Any

from pieces.layers import Counted, Layer
from pieces.report import Report
from pieces.setting import CUT_GROUPS, CUT_INPUTS, Setting


def start(report: Report) -> Any:
    """Imports torch and tells the lines' facts; None where it is missing, which a line says."""
    try:
        import torch
    except ImportError:
        report.line("skipped", skipped="no torch")
        return None
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    there = torch.cuda.is_available()
    versions = {"torch": torch.__version__, "cudnn": torch.backends.cudnn.version() or 0}
    report.about(device=torch.cuda.get_device_name() if there else "cpu", versions=versions)
    return torch


def device() -> str:
    """A GPU where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def wait(_: Any = None) -> None:
    """Waits for all that is under way."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_bytes() -> int | None:
    """The most memory so far; None on a CPU."""
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None


def network(setting: Setting) -> Any:
    """torchvision's network of the setting's shape, with random weights, channels-last."""
    import torch
    import torchvision

    if setting.tiny:
        found = _cut(torch, torchvision.models.resnet.Bottleneck, setting.classes)
    else:
        found = torchvision.models.get_model(setting.model, num_classes=setting.classes)
    return found.to(device(), memory_format=torch.channels_last)


def _cut(torch: Any, block: Any, classes: int) -> Any:
    """The stem and one block, as network.cut."""
    nn, outputs = torch.nn, 4 * CUT_INPUTS
    shortcut = nn.Sequential(
        nn.Conv2d(CUT_INPUTS, outputs, 1, 2, bias=False), nn.BatchNorm2d(outputs)
    )
    return nn.Sequential(
        nn.Conv2d(3, CUT_INPUTS, 7, 2, 3, bias=False),
        nn.BatchNorm2d(CUT_INPUTS),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
        block(CUT_INPUTS, CUT_INPUTS, 2, shortcut, CUT_GROUPS, 4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(outputs, classes),
    )


def convolutions(setting: Setting) -> list[Counted]:
    """The shapes of all its convolutions, and how often each is there."""
    import torch

    found: dict[Layer, int] = {}

    def note(module: Any, arguments: Any, _: Any) -> None:
        kernel, stride = module.kernel_size[0], module.stride[0]
        rest = (module.in_channels, module.out_channels, kernel, stride, module.groups)
        layer = Layer(arguments[0].shape[-1], *rest)
        found[layer] = found.get(layer, 0) + 1

    model = network(setting).to("meta")
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(note)
    side = setting.image_size
    with torch.no_grad():
        model.eval()(torch.empty(2, 3, side, side, device="meta"))
    return [Counted(layer, count) for layer, count in found.items()]
