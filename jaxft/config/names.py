"""Names in a config that must be known: models, weights, convolutions, rules of a range test."""

import re
from collections.abc import Iterator

from jaxft.config.settings import Settings
from jaxft.models.conv.lowerings import LOWERINGS, is_lowering
from jaxft.models.registry import BODIES
from jaxft.models.weights import hub, pretrained
from jaxft.recipe.finder.rules import RULES
from jaxft.recipe.finder.settings import AUTO


def unknown_names(settings: Settings) -> Iterator[str]:
    """Yield a message for each name that nothing has."""
    model, rule = settings.model, settings.finder.rule
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
    if rule not in (AUTO, *RULES):
        yield f"finder.rule is {rule!r}; known: {', '.join([AUTO, *RULES])}"
