"""The range test of a phase: its rates are tried on copies of the state, which changes nothing."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jaxft import inputs, lr_finder, paths, report, sharding, step
from jaxft.errors import UserError
from jaxft.hosts import Ballot
from jaxft.inputs import Materials, Runner
from jaxft.paths import AnyPath
from jaxft.step import StepSpec, Weights

Features = Float[np.ndarray, "examples features"]

MOST_TRIAL_EPOCHS = 3
MOST_TRIAL_STEPS = 1000


def rates_table(spec: StepSpec, materials: Materials, rates: Any) -> Any:
    """A rate for every step, on the mesh, as long for the range test as for the phase.

    One length means one shape, so that both run the same compiled step.
    """
    phase = spec.phase
    length = sum(phase.cycle_lengths) * spec.steps_per_epoch
    if phase.lr == "find":
        length = max(length, materials.settings.finder.steps)
    table = np.zeros(max(length, len(rates)))
    table[: len(rates)] = rates
    return sharding.replicate(table.astype(jax.dtypes.canonicalize_dtype(float)), materials.mesh)


def range_test(
    spec: StepSpec,
    materials: Materials,
    runner: Runner,
    weights: Weights,
    valid_features: Features | None = None,
) -> lr_finder.LRCurve:
    """Find a phase's learning rate on a copy of the state; changes nothing.

    Where the rule is `auto` and training takes cached features, which is cheap, the rates around
    the one that the sweep finds are tried for some epochs each, and the validation loss decides.

    Args:
      spec, materials, runner: of the phase.
      weights: that the phase begins with.
      valid_features: of the validation split, where the body is frozen.

    Raises:
      UserError: the loss never falls, or diverges at once.
    """
    curve = sweep_curve(spec, materials, runner, weights)
    automatic = materials.settings.finder.rule == lr_finder.AUTO
    if not automatic or spec.phase.inputs != "cached" or valid_features is None:
        return curve
    valid = valid_features

    def loss_of(lr: float) -> float:
        return trial(spec, materials, runner, weights, valid, lr)

    return lr_finder.decided(curve, lr_finder.climb(curve.lr, loss_of))


def sweep_curve(
    spec: StepSpec, materials: Materials, runner: Runner, weights: Weights
) -> lr_finder.LRCurve:
    """The sweep over all rates, and what the rules make of it; raises as `range_test`."""
    settings = lr_finder.settled(materials.settings.finder, spec.phase.trains_body)
    sweep = lr_finder.sweep(settings)
    unmoved = losses_at_rest(spec, materials, runner, weights, len(sweep))

    def going_on(losses: list[float]) -> bool:
        return not lr_finder.ended(np.asarray(losses), unmoved, settings)

    losses, _ = try_rates(spec, materials, runner, weights, sweep, going_on)
    count = len(losses)
    try:
        return lr_finder.choose(sweep[:count], losses, unmoved[:count], settings)
    except ValueError as error:
        raise UserError(f"No learning rate found for phase {spec.phase.name!r}: {error}") from None


def losses_at_rest(
    spec: StepSpec, materials: Materials, runner: Runner, weights: Weights, steps: int
) -> Float[np.ndarray, " steps"]:
    """Losses of these weights on a phase's first batches, views and dropout as in its steps.

    Images take a forward pass alone; a step on cached features is cheaper than a program more.
    """
    rates = np.zeros(steps)
    if spec.phase.inputs == "cached":
        return try_rates(spec, materials, runner, weights, rates)[0]
    with inputs.closing(inputs.still_runner(spec, materials)) as still:
        return try_rates(spec, materials, still, weights, rates)[0]


def trial(
    spec: StepSpec,
    materials: Materials,
    runner: Runner,
    weights: Weights,
    valid_features: Features,
    lr: float,
) -> float:
    """Validation loss after a phase's first cycle at a rate.

    Of a long one the first MOST_TRIAL_EPOCHS, and MOST_TRIAL_STEPS at most.
    """
    epochs = min(spec.phase.cycle_lengths[0], MOST_TRIAL_EPOCHS)
    count = min(epochs * spec.steps_per_epoch, MOST_TRIAL_STEPS)
    rates = spec.phase.rates(lr, spec.steps_per_epoch)(np.arange(count))
    _, after = try_rates(spec, materials, runner, weights, rates)
    return inputs.score(materials, after, valid_features).val_loss


def try_rates(
    spec: StepSpec,
    materials: Materials,
    runner: Runner,
    weights: Weights,
    rates: Float[np.ndarray, " steps"],
    going_on: Callable[[list[float]], bool] = lambda _: True,
) -> tuple[Float[np.ndarray, " steps"], Weights]:
    """Losses of a phase's first steps at these rates, or of fewer where `going_on` ends it.

    Works on a copy of the state, and returns where that has come to. Rates of 0 give the losses of
    weights that do not move.
    """
    losses: list[float] = []
    ballot = Ballot(materials.stop)
    words = "finding the learning rate" if rates.any() else "the same at a rate of 0"
    with materials.console.bar(len(rates), words, "step") as bar:

        def sink(_: int, loss: float) -> bool:
            losses.append(loss)
            bar.update()
            return not ballot() and going_on(losses)

        state, frozen = step.start(spec, weights)
        state = sharding.replicate(state, materials.mesh)
        table, seed = rates_table(spec, materials, rates), seed_of(materials)
        state, *_ = runner(state, frozen, table, seed, 0, len(rates), sink)
    materials.demand_going_on()
    return np.asarray(losses), step.finish(state, frozen)


def seed_of(materials: Materials) -> Any:
    """The run's seed, on the mesh."""
    return sharding.replicate(np.int32(materials.settings.seed), materials.mesh)


def find_rate(
    spec: StepSpec,
    materials: Materials,
    runner: Runner,
    weights: Weights,
    valid_features: Features | None,
    workdir: AnyPath,
) -> lr_finder.LRCurve:
    """The range test of a phase, told and drawn: `lr_find/PHASE.json` and `.png`."""
    curve = range_test(spec, materials, runner, weights, valid_features)
    directory = workdir / "lr_find"
    paths.make_folder(directory)
    report.write_json(directory / f"{spec.phase.name}.json", report.curve_json(curve))
    title = f"{spec.phase.name}: {curve.rule} takes {curve.lr:.2e}"
    report.plot_curve(curve, title, directory / f"{spec.phase.name}.png")
    materials.console.say(report.rules_table(curve))
    return curve
