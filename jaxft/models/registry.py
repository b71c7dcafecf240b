"""The bodies by name, and models made of them."""

from jaxft.models.bodies import efficientnet_lite
from jaxft.models.bodies.resnet import network
from jaxft.models.body import Preprocessing
from jaxft.models.head import Head
from jaxft.models.model import Model

BODIES = {**efficientnet_lite.BODIES, **network.BODIES}


def create(
    name: str,
    classes: int,
    *,
    hidden: tuple[int, ...] = (512,),
    dropout: tuple[float, ...] = (0.25, 0.5),
    pooling: str = "max_avg",
    dtype: str = "float32",
    conv: str = "auto",
    preprocessing: Preprocessing | None = None,
) -> Model:
    """Create a model by its name (one of BODIES) for a number of classes.

    Args:
      name: efficientnet_lite0, resnet50, resnext101_64x4d, ...
      classes: number of logits.
      hidden: widths of the head's hidden layers; () is the plain linear head.
      dropout: dropout rates before each linear layer, one more than `hidden` (ignored without).
      pooling: `max_avg` (maximum and average beside each other) or `avg`.
      dtype: of the body's computation, float32 or bfloat16; parameters stay float32.
      conv: the lowering of convolutions in several groups, one of LOWERINGS.
      preprocessing: as the weights expect it; None: as most weights of this body do.

    Raises:
      KeyError: no such model.
    """
    body = BODIES[name](dtype, conv)
    if preprocessing is not None:
        body = body._replace(preprocessing=preprocessing)
    head = Head(classes, hidden, dropout)
    return Model(name, classes, body, head, pooling)
