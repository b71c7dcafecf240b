"""What jaxft computes for one batch of images, ready to be timed beside another library."""

import tempfile
import time
from collections.abc import Mapping
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
    import numpy as np

    from jaxft import evaluate, models, optim, recipe, run, sharding, step
    from jaxft.configs import base
    from jaxft.data import augment, batches

    config = base.get_config()
    config.cache_dir = cache_dir or tempfile.mkdtemp()
    config.phases = tuple(
        base.phase(name=key, groups=dict(trained), lr=LEARNING_RATE, epochs=1)
        for key, trained in groups.items()
    )
    settings = recipe.read(config)
    run.set_up(settings)  # as every jaxft command does
    mesh = sharding.data_mesh(1)
    model = models.create(name, classes, hidden=(), pooling="avg")
    weights = sharding.replicate(step.Weights(*jax.jit(model.init)(jax.random.key(0))), mesh)
    plain = augment.PRESETS["none"]
    rng = np.random.default_rng(0)
    side = batches.canvas_size(image_size)
    canvas = rng.integers(256, size=(batch_size, side, side, 3)).astype(np.uint8)
    labels = rng.integers(classes, size=batch_size).astype(np.int32)
    batch = sharding.split_batch(step.TrainBatch(canvas, labels), mesh)
    forward_pass = evaluate.make_forward(model, plain, image_size, mesh)

    folded = forward_pass.fold(weights)

    def forward() -> None:
        features = forward_pass.features(folded, batch.inputs)
        forward_pass.logits(weights, features).block_until_ready()

    found: Passes = {"forward": forward}
    for index, phase in enumerate(settings.phases):
        optimizer = optim.transformation(phase.groups, settings.optimizer)
        spec = step.StepSpec(
            model, phase, index, optimizer, plain, image_size, batch_size, 1000 * batch_size
        )
        found[phase.name] = _training(spec, weights, batch, mesh)
    seconds = {}
    for key, function in found.items():
        start = time.perf_counter()
        function()
        seconds[key] = round(time.perf_counter() - start, 2)
    return {"jax": jax.__version__, "compile_seconds": seconds}, found


def _training(spec: Any, weights: Any, batch: Any, mesh: Any) -> Any:
    """One training step after another, each on the state that the one before left."""
    import numpy as np

    from jaxft import evaluate, sharding, step

    rates = sharding.replicate(np.full(100_000, LEARNING_RATE, np.float32), mesh)
    seed = sharding.replicate(np.int32(0), mesh)
    state, frozen = step.start(spec, weights)
    state, frozen = sharding.replicate(state, mesh), evaluate.make_fold(spec.model, mesh)(frozen)
    one_step = step.make_step(spec, mesh)

    def train() -> None:
        nonlocal state
        state, loss = one_step(state, frozen, batch, rates, seed)
        loss.block_until_ready()

    return train
