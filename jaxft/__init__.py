"""Fine-tune pretrained image classifiers in JAX by the classic eight-step recipe.

`jaxft.train(config, workdir)` runs a recipe and `jaxft.restore(workdir)` opens a run; both return
a `jaxft.Run`, which predicts, evaluates and draws. The pieces (`jaxft.models`, `jaxft.recipe`, ...)
stand alone.
"""

from typing import TYPE_CHECKING

from jaxft.runtime.version import VERSION as __version__

__all__ = ["Prediction", "Run", "__version__", "restore", "train"]

if TYPE_CHECKING:
    from jaxft.cli.python import train
    from jaxft.evaluation.prediction import Prediction
    from jaxft.report.restored import Run, restore
else:
    # Loaded on first use: `import jaxft.errors` should not wait for JAX.
    _HOMES = {
        "Prediction": "jaxft.evaluation.prediction",
        "Run": "jaxft.report.restored",
        "restore": "jaxft.report.restored",
        "train": "jaxft.cli.python",
    }

    def __getattr__(name):
        if name not in _HOMES:
            raise AttributeError(f"module 'jaxft' has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
