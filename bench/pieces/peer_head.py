"""Epochs of a head on features that lie in the device's memory: PyTorch's loop, and its graph."""

from collections.abc import Callable
from typing import Any

from pieces import clock, peer
from pieces.clock import Call
from pieces.heads import Head, heads
from pieces.report import Report
from pieces.setting import Setting

LEARNING_RATE, MOMENTUM, DROPOUT = 0.01, 0.9, (0.25, 0.5)


def with_torch(setting: Setting, report: Report) -> None:
    """A line for each head and way; a CPU has no graphs."""
    torch = peer.start(report)
    if torch is None:
        return
    ways: dict[str, Callable[[Head], Call]] = {"loop": loop}
    if torch.cuda.is_available():
        ways["CUDA graph"] = graph
    else:
        report.line("skipped", lowering="CUDA graph", skipped="no CUDA")
    for head in heads(setting):
        for name, make in ways.items():
            with report.guard("epoch", shape=head.shape, lowering=name):
                timing = clock.time_calls(setting, [make(head)], peer.wait, min(5, setting.rounds))
                facts = {"shape": head.shape, "lowering": name, "peak_bytes": peer.peak_bytes()}
                images = head.steps * head.batch
                report.figure(
                    "epoch", timing, flop=head.flop, moved=head.moved, images=images, **facts
                )


def loop(head: Head) -> Call:
    """An epoch as a loop over a shuffled index."""
    import torch

    features, labels = _data(head)
    train, _ = _trainer(head)

    def epoch() -> None:
        order = torch.randperm(head.examples, device=peer.device())
        for number in range(head.steps):
            index = order[number * head.batch : (number + 1) * head.batch]
            train(features[index], labels[index])

    return epoch


def graph(head: Head) -> Call:
    """The same with each step, its gather included, as the replay of one captured CUDA graph."""
    import torch

    features, labels = _data(head)
    train, optimizer = _trainer(head)
    index = torch.zeros(head.batch, dtype=torch.long, device="cuda")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            train(features[index], labels[index])
    torch.cuda.current_stream().wait_stream(side)
    optimizer.zero_grad(set_to_none=True)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        train(features[index], labels[index])

    def epoch() -> None:
        order = torch.randperm(head.examples, device="cuda")
        for number in range(head.steps):
            index.copy_(order[number * head.batch : (number + 1) * head.batch])
            captured.replay()

    return epoch


def _data(head: Head) -> tuple[Any, Any]:
    import torch

    features = torch.randn(head.examples, head.features, device=peer.device())
    return features, torch.randint(head.classes, (head.examples,), device=peer.device())


def _trainer(head: Head) -> tuple[Callable[[Any, Any], None], Any]:
    """A step on features and labels, and its optimizer."""
    import torch
    from torch import nn

    torch.backends.cuda.matmul.allow_tf32 = True  # as XLA multiplies float32 on these devices
    model = nn.Sequential(
        nn.BatchNorm1d(head.features),
        nn.Dropout(DROPOUT[0]),
        nn.Linear(head.features, head.hidden),
        nn.ReLU(),
        nn.BatchNorm1d(head.hidden),
        nn.Dropout(DROPOUT[1]),
        nn.Linear(head.hidden, head.classes),
    ).to(peer.device())
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, MOMENTUM, foreach=True)

    def train(x: Any, y: Any) -> None:
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    return train, optimizer
