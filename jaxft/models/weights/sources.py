"""Sources of pretrained weights: the values of `config.model.weights`, by model."""

from jaxft.models.bodies import efficientnet_lite
from jaxft.models.weights import hub


def sources(name: str) -> tuple[str, ...]:
    """List the values of `config.model.weights` for a model, beside `file:PATH`."""
    if name not in hub.MODELS and name not in efficientnet_lite.BODIES:
        return ("none",)
    return ("imagenet", *hub.tags(name), "none")
