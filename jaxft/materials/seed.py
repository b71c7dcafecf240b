"""The seed that a run draws by: its config's, mixed with the weights of another run it starts from.

With the same seed, the first epochs of a run that starts from another's weights would have the
order, views and dropout that those weights were trained on: its training loss would be too low.
"""

import hashlib
from dataclasses import replace

from jaxft.materials.materials import Materials
from jaxft.runtime import hosts
from jaxft.runtime.paths import AnyPath
from jaxft.workdir import checkpoint, seal
from jaxft.workdir.rows import read_object


def mixed(materials: Materials, workdir: AnyPath) -> Materials:
    """Return a run's materials with the seed that it draws by, which its checkpoints remember.

    A run that has begun keeps the seed that it began with, even if the run whose weights it took
    has gone on since. Runs that jaxft began before it mixed seeds draw by their config's.

    Args:
      materials: as opened from the config; without `init_from` they stay as they are.
      workdir: of the run.
    """
    settings = materials.settings
    if not settings.init_from:
        return materials
    begun = seal.began(workdir, seal.WEIGHTS)
    if begun is None and checkpoint.steps(workdir):
        begun = read_object(workdir / seal.WEIGHTS)
    begun = hosts.gather(begun)[0]
    if begun is None:
        seed = mix(settings.seed, materials.origin["digest"])
    else:
        seed = begun.get("seed", settings.seed)
    return materials._replace(
        settings=replace(settings, seed=seed), origin={**materials.origin, "seed": seed}
    )


def mix(seed: int, digest: str) -> int:
    """Return a seed from 0 to 2**31 - 1 that depends on both."""
    total = hashlib.sha256(f"{seed} {digest}".encode()).digest()
    return int.from_bytes(total[:4], "big") >> 1
