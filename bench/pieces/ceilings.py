"""Ceilings of the device: copies of its memory, and products of large matrices."""

from typing import Any

from pieces import clock
from pieces.report import Report
from pieces.setting import Setting

BF16 = 2  # bytes


def sizes(setting: Setting) -> tuple[int, int]:
    """(numbers of the array that is copied, rows of the square matrices), in bfloat16."""
    return (2**16, 128) if setting.tiny else (2**29, 8192)


def with_jax(setting: Setting, report: Report) -> None:
    """The ceilings as XLA reaches them."""
    import jax
    import jax.numpy as jnp

    from pieces import network

    network.start(report)
    numbers, rows = sizes(setting)
    keys = jax.random.split(jax.random.key(0), 2)
    arrays = [jax.random.normal(key, (numbers,), jnp.bfloat16) for key in keys]
    copy = jax.jit(lambda x: x + 1)
    matrices = [jax.random.normal(key, (rows, rows), jnp.bfloat16) for key in keys]
    product = jax.jit(jnp.matmul)
    copies = [lambda a=a: copy(a) for a in arrays]
    products = [lambda a=a: product(a, matrices[0]) for a in matrices]
    _report(setting, report, copies, products, jax.block_until_ready)


def with_torch(setting: Setting, report: Report) -> None:
    """The same as PyTorch reaches them."""
    from pieces import peer

    torch = peer.start(report)
    if torch is None:
        return
    numbers, rows = sizes(setting)
    arrays = [torch.randn(numbers, device=peer.device(), dtype=torch.bfloat16) for _ in range(2)]
    matrices = [a[: rows * rows].clone().view(rows, rows) for a in arrays]
    copies = [lambda a=a: a + 1 for a in arrays]
    products = [lambda a=a: a @ matrices[0] for a in matrices]
    _report(setting, report, copies, products, peer.wait)


def _report(
    setting: Setting, report: Report, copies: list[Any], products: list[Any], wait: Any
) -> None:
    numbers, rows = sizes(setting)
    with report.guard("copy"):
        timing = clock.time_calls(setting, copies, wait)
        report.figure("copy", timing, moved=2.0 * BF16 * numbers, shape=f"{numbers} bfloat16")
    with report.guard("matmul"):
        timing = clock.time_calls(setting, products, wait)
        flop, moved = 2.0 * rows**3, 3.0 * BF16 * rows**2
        report.figure("matmul", timing, flop=flop, moved=moved, shape=f"{rows}^3 bfloat16")
