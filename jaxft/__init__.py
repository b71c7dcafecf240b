"""Fine-tune pretrained image classifiers in JAX by the classic eight-step recipe.

`jaxft.train(config, workdir)` runs a recipe, `jaxft.restore(workdir)` gives its weights and an
`apply`. The pieces (`jaxft.models`, `jaxft.recipe`, ...) stand alone.
"""

from typing import Any

__version__ = "0.2.0"
__all__ = ["__version__", "restore", "train"]


def __getattr__(name: str) -> Any:
    # Loaded on first use: `import jaxft.errors` should not wait for JAX.
    if name == "train":
        from jaxft.run import train

        return train
    if name == "restore":
        from jaxft.evaluation.restore import restore

        return restore
    raise AttributeError(f"module 'jaxft' has no attribute {name!r}")
