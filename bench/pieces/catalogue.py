"""The pieces in their order: what each runs, in which interpreter, and how long it may take."""

from typing import NamedTuple

NO_FUSED_CONVOLUTIONS = "--xla_disable_hlo_passes=cudnn-fused-convolution-rewriter"
LOOPS_AS_COMMANDS = "--xla_gpu_enable_command_buffer=+WHILE"


class Part(NamedTuple):
    """One child process.

    `work` is MODULE:FUNCTION of this folder, called with a Setting and a Report. `needs` are the
    seconds without which it is not worth a start, `limit` those after which it is killed.
    `flags` are added to XLA_FLAGS, `memory` is the share of the device's that JAX takes.
    """

    side: str
    work: str
    needs: float
    limit: float
    torch: bool = False
    flags: str = ""
    memory: float = 0.9


PIECES: dict[str, tuple[Part, ...]] = {
    "ceilings": (
        Part("jax", "ceilings:with_jax", 15, 60),
        Part("torch", "ceilings:with_torch", 10, 60, torch=True),
    ),
    "smoke": (Part("jax", "smoke:smoke", 30, 150),),
    "bench": (Part("jax", "card:bench", 60, 270),),
    "peer": (
        Part("eager", "peers:eager", 30, 120, torch=True),
        Part("compiled", "peers:compiled", 60, 210, torch=True),
    ),
    "trace": (
        Part("jax", "trace:with_jax", 45, 180),
        Part("torch", "peer_trace:with_torch", 20, 90, torch=True),
    ),
    "grouped": (
        Part("jax", "convolutions:grouped", 45, 130),
        Part("torch", "peer_convolutions:grouped", 15, 90, torch=True),
    ),
    "pointwise": (
        Part("jax", "convolutions:pointwise", 30, 180),
        Part("torch", "peer_convolutions:pointwise", 15, 60, torch=True),
    ),
    "pool": (
        Part("jax", "convolutions:pool", 15, 60),
        Part("torch", "peer_convolutions:pool", 10, 45, torch=True),
    ),
    "ideas": (Part("jax", "ideas:ideas", 60, 330),),
    "fused": (
        Part("jax", "inference:fused", 30, 150),
        Part("unfused", "inference:fused", 30, 150, flags=NO_FUSED_CONVOLUTIONS),
        Part("torch", "peers:inference", 30, 150, torch=True),
    ),
    "parity": (Part("jax", "logits:parity", 30, 240),),
    "quickstart": (
        Part("deterministic", "runs:resumed", 90, 400),
        Part("jax", "runs:quickstart", 90, 300),
    ),
    "head": (
        Part("jax", "head:with_jax", 15, 120),
        Part("loops_as_commands", "head:with_jax", 15, 120, flags=LOOPS_AS_COMMANDS),
        Part("torch", "peer_head:with_torch", 15, 90, torch=True),
    ),
    "lite": (
        Part("jax", "lite:with_jax", 45, 240),
        Part("torch", "peers:lite", 30, 180, torch=True),
    ),
    "input": (
        Part("jax", "inputs:with_jax", 20, 90),
        Part("torch", "peer_inputs:with_torch", 15, 90, torch=True),
    ),
    "flags": (Part("jax", "flags:flags", 90, 500),),
}


def part(piece: str, side: str) -> Part:
    """One part by its names."""
    return next(part for part in PIECES[piece] if part.side == side)
