"""The blocks of tiny.py as a body that a config can name, for tests that run whole recipes."""

from tiny import PREPROCESSING, Block

from jaxft.config.settings import Settings
from jaxft.models.body import Body
from jaxft.models.registry import BODIES


def body(dtype: str, conv: str = "auto") -> Body:
    """A body like those in jaxft.models; computes in float32 whatever `dtype` says."""
    return Body(Block(8), Block(16), 16, PREPROCESSING)


def grouped(dtype: str, conv: str = "auto") -> Body:
    """The same with a grouped convolution, as in ResNeXt."""
    return Body(Block(8), Block(16, groups=4), 16, PREPROCESSING)


def register() -> None:
    """Let `config.model.name = "tiny"` find it, in this process."""
    BODIES.update(tiny=body, tiny_grouped=grouped)


def as_if_pretrained(setattr_of=setattr) -> None:
    """Let random weights pass for pretrained ones, so that BatchNorm is rebased on the images."""
    setattr_of(Settings, "from_scratch", False)
