"""jaxft's programs for one batch of images, ready to be timed beside another library."""

import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

from side_by_side import Passes

LEARNING_RATE = 0.01


def passes(
    name: str,
    classes: int,
    batch_size: int,
    image_size: int,
    groups: Mapping[str, Mapping[str, float]],
    cache_dir: str = "",
) -> tuple[dict, Passes]:
    """Inference as `forward`, and a training step for each entry of `groups`, all compiled.

    They are the step and the inference of `jaxft train`, canvas to view and normalisation
    included, on one device.

    Args:
      name: of the model; its head is average pooling and one linear layer.
      groups: pass -> layer group -> factor of the learning rate.
      cache_dir: where compiled programs are kept; "": compile them all.

    Returns:
      (versions and seconds of compilation, the passes).
    """
    import jax

    model = {"name": name, "classes": classes}
    found = programs(model, batch_size, image_size, groups, cache_dir)
    ready: Passes = {key: lambda call=call: call().block_until_ready() for key, call in found}
    seconds = {}
    for key, function in ready.items():
        start = time.perf_counter()
        function()
        seconds[key] = round(time.perf_counter() - start, 2)
    return {"jax": jax.__version__, "compile_seconds": seconds}, ready


def programs(
    model: Mapping[str, Any],
    batch_size: int,
    image_size: int,
    groups: Mapping[str, Mapping[str, float]],
    cache_dir: str = "",
    preset: str = "none",
    policy: str = "none",
) -> list[tuple[str, Callable[[], Any]]]:
    """The same, each as a call that returns what can be waited for; compiled when first called.

    Args:
      model: arguments of `registry.create`, beside a head of average pooling and one linear layer.
      preset, policy: of augmentation, in training.
    """
    import jax

    from jaxft.config import load
    from jaxft.configs import base
    from jaxft.devices import sharding
    from jaxft.features.inference import make_forward
    from jaxft.models.registry import create
    from jaxft.models.variables import Weights
    from jaxft.recipe import optim
    from jaxft.runtime.set_up import set_up
    from jaxft.training.spec import StepSpec

    config = base.get_config()
    config.augment.preset, config.augment.policy = preset, policy
    config.cache_dir = cache_dir or tempfile.mkdtemp()
    config.phases = tuple(
        base.phase(name=key, groups=dict(trained), lr=LEARNING_RATE, epochs=1)
        for key, trained in groups.items()
    )
    settings = load.read(config)
    set_up(settings.cache_dir)  # as every jaxft command does
    mesh = sharding.data_mesh(1)
    net = create(**model, hidden=(), pooling="avg")
    weights = sharding.replicate(Weights(*jax.jit(net.init)(jax.random.key(0))), mesh)
    views = settings.augment
    batch = sharding.split_batch(_batch(batch_size, image_size, net.classes), mesh)
    forward_pass = make_forward(net, views, image_size, mesh)

    folded = forward_pass.fold(weights)

    def forward() -> Any:
        return forward_pass.logits(weights, forward_pass.features(folded, batch.inputs))

    found: list[tuple[str, Callable[[], Any]]] = [("forward", forward)]
    for index, phase in enumerate(settings.phases):
        optimizer = optim.transformation(phase.groups, settings.optimizer)
        spec = StepSpec(
            net, phase, index, optimizer, views, image_size, batch_size, 1000 * batch_size
        )
        found.append((phase.name, Training(spec, weights, batch, mesh)))
    return found


def _batch(batch_size: int, image_size: int, classes: int) -> Any:
    """Random canvases and labels."""
    import numpy as np

    from jaxft.data.images.sizing import canvas_size
    from jaxft.training.train_state import TrainBatch

    rng = np.random.default_rng(0)
    side = canvas_size(image_size)
    canvas = rng.integers(256, size=(batch_size, side, side, 3)).astype(np.uint8)
    labels = rng.integers(classes, size=batch_size).astype(np.int32)
    return TrainBatch(canvas, labels)


class Training:
    """One training step after another, each on the state that the one before left."""

    def __init__(self, spec: Any, weights: Any, batch: Any, mesh: Any) -> None:
        import numpy as np

        from jaxft.devices import sharding
        from jaxft.features.inference import make_fold
        from jaxft.training import step

        rates = sharding.replicate(np.full(100_000, LEARNING_RATE, np.float32), mesh)
        state, frozen = step.start(spec, weights)
        self._state = sharding.replicate(state, mesh)
        self._others = (make_fold(spec.model, mesh)(frozen), batch, rates)
        self._seed = sharding.replicate(np.int32(0), mesh)
        self._step = step.make_step(spec, mesh)

    def __call__(self) -> Any:
        """Starts a step; returns its loss."""
        self._state, loss = self._step(self._state, *self._others, self._seed)
        return loss

    def compiled(self) -> Any:
        """The program of a step."""
        return self._step.lower(self._state, *self._others, self._seed).compile()
