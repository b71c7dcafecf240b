"""Names in a config that must be known: of models, weights and convolutions."""

import re
from collections.abc import Iterator

from jaxft.config.sections import ModelSettings
from jaxft.models import BODIES
from jaxft.models.conv import LOWERINGS, is_lowering
from jaxft.models.weights import hub, pretrained


def unknown_names(model: ModelSettings) -> Iterator[str]:
    """Yield a message for each name in `config.model` that nothing has."""
    known = model.name in BODIES
    sources = pretrained.sources(model.name) if known else ("imagenet", *hub.all_tags(), "none")
    if not known:
        yield f"model.name is {model.name!r}; known: {', '.join(BODIES)}"
    if not re.match("file:.", model.weights) and model.weights not in sources:
        yield (
            f"model.weights is {model.weights!r}; it should be file:PATH or one of "
            f"{', '.join(sources)}"
        )
    if not is_lowering(model.conv):
        yield (
            f"model.conv is {model.conv!r}; it should be one of {', '.join(LOWERINGS)}, "
            "WIDTH a power of 2"
        )
