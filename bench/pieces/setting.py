"""At which size the pieces run: the furniture card's on an accelerator, or tiny, on any CPU."""

import json
from typing import NamedTuple

# ResNeXt's stem and one block, see network.cut.
CUT, CUT_INPUTS, CUT_GROUPS = "resnext_cut", 64, 16
L2_BYTES = 50e6  # of an H100; what is measured should not fit into it


class Setting(NamedTuple):
    """Handed to every child. `conv` are candidate lowerings, by comma; `folder` keeps files."""

    tiny: bool
    folder: str
    conv: str = ""
    peer_python: str = ""
    batch_size: int = 256

    @property
    def model(self) -> str:
        """By jaxft's name."""
        return CUT if self.tiny else "resnext101_64x4d"

    @property
    def image_size(self) -> int:
        """Pixels."""
        return 32 if self.tiny else 224

    @property
    def batch(self) -> int:
        """Images of a batch."""
        return 4 if self.tiny else self.batch_size

    @property
    def classes(self) -> int:
        """Of the furniture card."""
        return 5 if self.tiny else 128

    @property
    def rounds(self) -> int:
        """Number of timings of whatever is timed."""
        return 2 if self.tiny else 10

    @property
    def warm_up(self) -> int:
        """Calls before those that are timed."""
        return 1 if self.tiny else 3

    @property
    def least_ms(self) -> float:
        """A round of calls lasts at least this long, so that the clock's error is none."""
        return 0.0 if self.tiny else 30.0

    def sets(self, set_bytes: float) -> int:
        """Number of sets of inputs, of so many bytes each, that in turn miss the L2 cache."""
        return 2 if self.tiny else max(2, min(8, round(4 * L2_BYTES / max(set_bytes, 1))))


def dump(setting: Setting) -> str:
    """A setting as JSON text."""
    return json.dumps(setting._asdict())


def load(text: str) -> Setting:
    """A setting from `dump`."""
    return Setting(**json.loads(text))
