"""Report on a step whose numbers are not finite: rates, norms, and the names of its examples."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from jaxft.data.order import host_order, host_rows
from jaxft.data.slots import layout
from jaxft.devices import compiler, sharding
from jaxft.devices.sharding import AXIS
from jaxft.errors import NonFiniteError
from jaxft.materials.materials import Materials
from jaxft.models.variables import Weights
from jaxft.recipe import groups
from jaxft.runtime import hosts
from jaxft.training import step
from jaxft.training.phase_spec import make_spec
from jaxft.training.spec import StepSpec
from jaxft.training.train_state import TrainBatch, TrainState
from jaxft.workdir.cursor import Cursor

MOST_NAMES = 3  # of examples, in the report in short


def report(error: NonFiniteError, materials: Materials, cursor: Cursor) -> dict[str, Any]:
    """Describe a step that is not finite, its rates and the names of its examples, as JSON data.

    Args:
      error: of the step.
      materials, cursor: of the phase.
    """
    phase, number = materials.settings.phases[cursor.phase_index], error.step
    told: dict[str, Any] = {
        "told": error.told,
        "phase": phase.name,
        "epoch": cursor.phase.epoch,
        "step": number,
        "global_step": cursor.global_step + (0 if number is None else number - cursor.phase.step),
        "on_nonfinite": materials.settings.on_nonfinite,
        "rewinds": cursor.phase.rewinds,
        "skipped": cursor.phase.skipped,
        "valid_examples": list(error.examples),
    }
    if number is None:
        return told
    assert cursor.phase.rate is not None
    spec = make_spec(materials, cursor.phase_index)
    rate = float(phase.rates(cursor.phase.rate, spec.steps_per_epoch)(np.asarray([number]))[0])
    told["rates"] = {group: rate * share for group, share in phase.groups.items()}
    names = batch_names(spec, materials, number)
    return {**told, "examples": [{"name": name} for name in names]}


def batch_names(spec: StepSpec, materials: Materials, number: int) -> list[str]:
    """Names of the examples of a phase's step, in the order in which they lie on the devices."""
    train, seed = materials.dataset.train, materials.settings.seed
    epoch, within = divmod(number, spec.steps_per_epoch)
    place = (seed, spec.phase_index, epoch)
    balanced = train.labels if spec.balance.kind == "sampling" else None
    order = host_order(*place, spec.examples, balanced)
    if spec.phase.inputs == "cached":
        order = host_rows(order, *place, spec.phase.views) % spec.examples
    chosen = order[within * spec.batch_size : (within + 1) * spec.batch_size]
    if spec.phase.inputs == "augmented":
        chosen = chosen[layout(spec.batch_size, materials.mesh.size, spec.phase.microbatches)]
    return [train.names[index] for index in chosen]


def looked_at(
    spec: StepSpec, materials: Materials, weights: Weights, number: int, batch: TrainBatch
) -> dict[str, Any]:
    """Losses of a step's examples and norms by group, as JSON data; all processes call it.

    The step's own weights are gone: these are the last checkpoint's, on the mesh, with the step's
    batch, views and dropout. So they tell a bad batch from weights that have diverged.
    """
    trained, fixed = groups.split(weights.params, spec.phase.groups)
    stats, fixed_stats = groups.split(weights.batch_stats, spec.phase.groups)
    at = sharding.replicate(np.int32(number), materials.mesh)
    frozen = materials.forward.fold(Weights(fixed, fixed_stats))
    look = make_look(spec, materials.mesh)
    found, norms = look(TrainState(at, trained, stats, ()), frozen, batch, materials.seed())
    losses = hosts.gather_batches([sharding.fetch_rows(found)])
    pairs = zip(batch_names(spec, materials, number), losses, strict=True)
    return {
        "examples": [{"name": name, "loss": _plain(loss)} for name, loss in pairs],
        "gradient_norms": {group: _plain(norm) for group, norm in sharding.fetch(norms).items()},
        "parameter_norms": {g: _plain(_norm(tree)) for g, tree in trained.items()},
    }


def make_look(spec: StepSpec, mesh: Mesh) -> Any:
    """The jitted (state, frozen, batch, seed) -> losses [batch], gradients' norms by group."""

    def look(
        state: TrainState, frozen: Weights, batch: TrainBatch, seed: Array
    ) -> tuple[Array, dict[str, Array]]:
        keys = step.example_keys(spec, seed, state.step, batch.label.shape[0])
        losses, grads, _ = step.local_gradient(spec, state, frozen, batch, keys)
        grads = sharding.mean(grads)
        return losses, {group: _norm(tree) for group, tree in grads.items()}

    specs = (P(), P(), P(AXIS), P())
    mapped = sharding.shard_map(look, mesh, in_specs=specs, out_specs=(P(AXIS), P()))
    return jax.jit(mapped, compiler_options=compiler.options(spec.deterministic))


def _norm(tree: Any) -> Array:
    return jnp.sqrt(sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(tree)))


def _plain(number: Any) -> float | str:
    """Return a number as JSON can hold it: `nan`, `inf` and `-inf` as text."""
    value = float(number)
    return value if math.isfinite(value) else str(value)


def in_words(report: Mapping[str, Any]) -> str:
    """Say in a sentence what a report shows."""
    if report["valid_examples"]:
        return f"Validation images without a finite loss: {_some(report['valid_examples'])}."
    if "gradient_norms" not in report:
        return ""
    number = report["weights"]["checkpoint"]
    place = f"With the weights of checkpoint {number}" if number else "With the run's first weights"
    sick = [one["name"] for one in report["examples"] if isinstance(one["loss"], str)]
    if sick:
        return f"{place} these images have no finite loss: {_some(sick)}."
    wrong = [group for group, norm in report["gradient_norms"].items() if isinstance(norm, str)]
    if wrong:
        return f"{place} the gradient of {' and '.join(wrong)} is not finite on that batch."
    loss = np.mean([one["loss"] for one in report["examples"]])
    # Where steps are skipped the last checkpoint is of these very weights (loop.py).
    skips = report["on_nonfinite"] == "skip"
    so = "it is the update that is not finite" if skips else "the weights have diverged since"
    return f"{place} that batch has a loss of {loss:.3g} and finite gradients, so {so}."


def _some(names: list[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
