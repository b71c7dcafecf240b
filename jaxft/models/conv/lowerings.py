"""Lowerings of convolutions in several groups, and the fastest of them on each platform.

A grouped kernel, depthwise ones included, can be convolved in the ways that LOWERINGS names.
GROUPED and DEPTHWISE hold the meaning of "auto"; a config's `model.conv` asks for another. On CPU
XLA's own convolution takes 20 to 40 times as long as necessary for a depthwise kernel, forward and
backward, and up to 4 times for a 1x1 or a grouped one. bench/step_time.py and bench/tpu_grouped.py
measure the effect.
"""

from collections.abc import Sequence

from jaxft.devices import platform
from jaxft.models.conv.kernel import BLOCK

LANES = 128  # numbers beside each other in a register of TPU
NARROW = 4  # channels of the widest groups for which shifted products are faster than blocks

# What `model.conv` can be, which is for kernels of several groups.
LOWERINGS = {
    "auto": "what GROUPED and DEPTHWISE have for the platform and the layer",
    "native": "XLA's grouped convolution",
    "packed:WIDTH": "the same in fewer groups, each of WIDTH input channels, with zeros (`pack`)",
    "blocks:WIDTH": "convolutions of one group, each of WIDTH input channels, side by side",
    "dense": "one convolution of one group, with zeros",
    "shifts": "the sum of shifted products; for depthwise kernels and groups of up to 4 channels",
}

# What "auto" is, by chip or platform: (for layers of at least so many channels, lowering), the
# first row that applies and suits the kernel; native on all others. CPU: bench/README.md has what
# each takes for ResNeXt-101 64x4d's four shapes. TPU: the width of the matrix units, where XLA's
# cost model likes it, which was asked for v5e and v6e (bench/README.md); v4's and v5p's units are
# as wide as v5e's. GPU: measured on an H100 (bench/README.md), whose kernels for groups of 4 and 8
# channels take up to 1.8 times as long as those for 16; groups of 16 and more stay as they are.
GROUPED: dict[str, tuple[tuple[int, str], ...]] = {
    "cpu": ((0, "shifts"), (0, f"blocks:{BLOCK}")),
    "gpu": ((0, "packed:16"),),
    "v4": ((512, "packed:128"), (0, "packed:256"), (0, "packed:128")),
    "v5e": ((512, "packed:128"), (0, "packed:256"), (0, "packed:128")),
    "v5p": ((512, "packed:128"), (0, "packed:256"), (0, "packed:128")),
    "v6e": ((0, "packed:256"), (0, "packed:128")),
}
# The same for depthwise kernels, by platform.
DEPTHWISE: dict[str, tuple[tuple[int, str], ...]] = {"cpu": ((0, "shifts"),)}


def is_lowering(word: str) -> bool:
    """Return true for the values of `model.conv`: LOWERINGS, with a power of 2 for WIDTH."""
    way, colon, number = word.partition(":")
    if not colon:
        return word in LOWERINGS
    power_of_2 = number.isdecimal() and int(number) > 1 and int(number).bit_count() == 1
    return f"{way}:WIDTH" in LOWERINGS and power_of_2


def choose(kernel_shape: Sequence[int], groups: int, lowering: str = "auto") -> tuple[str, int]:
    """Choose the lowering of a kernel of several groups, and the input channels of its groups then.

    A lowering that the kernel does not divide into gives way to "auto", and that to "native".
    """
    inside, out = kernel_shape[2:]
    wanted = (lowering, *automatic(out, depthwise=inside == 1), "native")
    return next(filter(None, (_divided(inside, groups, out, word) for word in wanted)))


def automatic(channels: int, depthwise: bool) -> list[str]:
    """List the rows of GROUPED or DEPTHWISE for a layer's channels on this platform, best first."""
    name, chip = platform.current()
    rows = DEPTHWISE.get(name, ()) if depthwise else GROUPED.get(chip) or GROUPED.get(name) or ()
    return [word for least, word in rows if channels >= least]


def _divided(inside: int, groups: int, out: int, lowering: str) -> tuple[str, int] | None:
    """A lowering as (way, input channels of a group); None where the kernel does not suit it."""
    way, _, number = lowering.partition(":")
    if way == "native":
        return way, inside
    if way == "dense":
        return way, inside * groups
    if way == "shifts":
        narrow = inside == 1 or (inside <= NARROW and out % BLOCK == 0)
        return (way, inside) if narrow and out == inside * groups else None
    if way == "auto":
        return None
    width = max(int(number), inside)
    return (way, width) if width % inside == 0 and inside * groups % width == 0 else None


def parts(channels: int, groups: int, lowering: str = "auto") -> int:
    """Return the number of parts in which the channels before a grouped convolution are best kept.

    TPU's compiler gives each group of such a convolution tiles of its own. It writes the results of
    the layers before it, a 1x1 convolution and its BatchNorm, in another layout, and converts them
    on the way in and on the way back, unless they are made group by group (`in_parts`). Then it
    even normalises inside the grouped convolution. 1 where there is nothing to gain: no TPU, or
    groups that fill no tile.
    """
    if platform.current().name != "tpu" or groups == 1:
        return 1
    _, width = choose((3, 3, channels // groups, channels), groups, lowering)
    return channels // width if width % LANES == 0 else 1
