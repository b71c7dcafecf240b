"""A model's logits on the device beside those of the CPU in the same process, in float64."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxft.devices import platform
from jaxft.models.fold import fold
from jaxft.models.model import Model
from jaxft.models.registry import create
from pieces import network
from pieces.inference import ratio
from pieces.report import Report
from pieces.setting import Setting

MODELS, IMAGES = ("resnet18", "resnext50_32x4d", "resnext101_64x4d"), 4


class Case(NamedTuple):
    """A way to compute; `bound` is what its error should stay below, None = no bound."""

    name: str
    dtype: str
    precision: str
    bound: float | None


CASES = (
    Case("float32, highest", "float32", "highest", 1e-4),
    Case("float32, default", "float32", "default", None),
    Case("bfloat16", "bfloat16", "default", 1e-2),
)


def parity(setting: Setting, report: Report) -> None:
    """A line for each model and way to compute: error, bound, and `holds`."""
    network.start(report)
    for name in (setting.model,) if setting.tiny else MODELS:
        options: dict[str, Any] = {"hidden": (), "pooling": "avg"}
        model = create(name, setting.classes, **options)
        weights = network.weights(model)
        side = setting.image_size
        images = np.random.default_rng(1).normal(size=(IMAGES, side, side, 3)).astype(np.float32)
        with report.guard("logits", shape=name):
            wanted = reference(model, weights, images)
            for case in CASES:
                computed = create(name, setting.classes, dtype=case.dtype, **options)
                with jax.default_matmul_precision(case.precision):
                    found = np.asarray(logits(computed, *weights, images), np.float64)
                error = ratio(found, wanted)
                holds = None if case.bound is None else error < case.bound
                facts = {"bound": case.bound, "holds": holds, "shape": name}
                report.line("logits", lowering=case.name, error_ratio=error, **facts)


def reference(model: Model, weights: Any, images: Any) -> np.ndarray:
    """Logits in float64 on the CPU."""
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        wide = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), (*weights, images))
        with platform.targeting("none", ""):  # the convolutions that compile soonest, XLA's own
            return np.asarray(logits(model, *wide))


def logits(model: Model, params: Any, stats: Any, images: Any) -> Any:
    """As jaxft evaluates: BatchNorm folded into the kernels."""

    @jax.jit
    def run(params: Any, stats: Any, images: Any) -> Any:
        body = {group: params[group] for group in ("early", "late")}
        folded, left = fold(model.body, body, stats)
        features = model.features(folded, left, images)[0]
        return model.classify(params, stats, features.astype(images.dtype))[0]

    return run(params, stats, images)
