"""jaxft's network at a setting's size: its parts, random weights, and its convolutions' shapes."""

import ctypes
from collections import Counter
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxft.models import registry
from jaxft.models.bodies.resnet import network as resnet
from jaxft.models.bodies.resnet.architecture import ARCHITECTURES
from jaxft.models.body import TORCHVISION, Body
from jaxft.models.conv.convolution import Conv
from jaxft.models.model import Model
from jaxft.models.norm.layer import BatchNorm
from jaxft.models.variables import Weights
from pieces.layers import Counted, Layer
from pieces.report import Report
from pieces.setting import CUT, CUT_GROUPS, CUT_INPUTS, Setting


class Stem(nn.Module):
    """The stem of a ResNet, its first layer group where there is only one block after it."""

    dtype: str

    @nn.compact
    def __call__(self, x: Array, train: bool, axis_name: str | None = None) -> Array:
        """Normalised images to 64 channels at a quarter of their size."""
        stem = Conv(CUT_INPUTS, 7, 2, ((3, 3), (3, 3)), dtype=self.dtype, name="conv1")
        x = BatchNorm(activation="relu", name="bn1")(stem(x), train, axis_name)
        return resnet.max_pool(x)


def cut(dtype: str, conv: str = "auto") -> Body:
    """The stem and one block of a ResNeXt: what compiles in a second."""
    architecture = ARCHITECTURES["resnext50_32x4d"]._replace(groups=CUT_GROUPS, conv=conv)
    late = resnet.Bottleneck(architecture, CUT_INPUTS, 2, dtype)
    grouped = (("conv2", CUT_GROUPS),)
    return Body(Stem(dtype), late, 4 * CUT_INPUTS, TORCHVISION, 1e-5, dtype, grouped, conv)


def register() -> None:
    """Lets configs and `registry.create` find the cut network."""
    registry.BODIES[CUT] = cut


def start(report: Report) -> None:
    """Begin a part with JAX: the line's facts, and work in order on a CPU, too."""
    import jaxlib

    jax.config.update("jax_cpu_enable_async_dispatch", False)
    register()
    device = jax.devices()[0]
    versions: dict[str, Any] = {"jax": jax.__version__, "jaxlib": jaxlib.__version__}
    if device.platform == "gpu":
        versions["cudnn"] = cudnn_version()
    report.about(device=device.device_kind, versions=versions)


def cudnn_version() -> int | None:
    """Of the library that this process has loaded, or would."""
    try:
        library = ctypes.CDLL("libcudnn.so.9")
    except OSError:
        return None
    library.cudnnGetVersion.restype = ctypes.c_size_t
    return int(library.cudnnGetVersion())


def create(setting: Setting, dtype: str = "bfloat16", conv: str = "auto") -> Model:
    """The network with one linear layer on average-pooled features, as torchvision's."""
    options: dict[str, Any] = {"hidden": (), "pooling": "avg", "dtype": dtype, "conv": conv}
    return registry.create(setting.model, setting.classes, **options)


def weights(model: Model) -> Weights:
    """Random parameters and statistics about those of a trained network, on the host."""
    random = np.random.default_rng(0)

    def parameter(leaf: Any) -> Any:
        if leaf.ndim == 1:
            return 0.5 + random.random(leaf.shape)
        return random.normal(size=leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))

    params, stats = jax.eval_shape(model.init, jax.random.key(0))
    params = jax.tree.map(parameter, dict(params))
    stats = jax.tree.map(lambda leaf: 0.5 + random.random(leaf.shape), dict(stats))
    return Weights(*jax.tree.map(lambda a: np.asarray(a, np.float32), (params, stats)))


def convolutions(model: Model, image_size: int) -> list[Counted]:
    """The shapes of all convolutions of a network, and how often each is there."""
    found: Counter[Layer] = Counter()

    def note(call: Any, arguments: Any, keywords: Any, context: Any) -> Any:
        module = context.module
        if isinstance(module, Conv) and context.method_name == "__call__":
            pixels, channels = arguments[0].shape[-2:]
            rest = (module.channels, module.size, module.stride, module.groups)
            found[Layer(pixels, channels, *rest)] += 1
        return call(*arguments, **keywords)

    image = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
    with nn.intercept_methods(note):
        shapes = jax.eval_shape(model.init, jax.random.key(0))
        found.clear()
        jax.eval_shape(lambda w, x: model.features(*w, x), shapes, image)
    return [Counted(layer, count) for layer, count in found.items()]


def peak_bytes() -> int | None:
    """The most memory of the first device so far; None where it does not say."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
