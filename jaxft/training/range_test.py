"""The range test of a phase, on copies of the state."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from jaxft.config.phase import Phase
from jaxft.devices import sharding
from jaxft.errors import UserError
from jaxft.evaluation import validate
from jaxft.materials.extraction import body_features
from jaxft.materials.materials import Materials
from jaxft.models.variables import Weights
from jaxft.recipe.finder import choice, sweep, trials
from jaxft.recipe.finder import distance as distances
from jaxft.recipe.finder.curve import LRCurve
from jaxft.recipe.finder.settings import AUTO, FinderSettings, settled
from jaxft.report.curve import curve_json, plot_curve, rules_table
from jaxft.runtime import hosts, paths
from jaxft.runtime.ballot import Ballot
from jaxft.runtime.console import Console
from jaxft.runtime.paths import AnyPath
from jaxft.training import runners, step, train_state
from jaxft.training.runners import Runner, image_runner, rates_table
from jaxft.training.spec import StepSpec
from jaxft.workdir.rows import write_document

MOST_TRIAL_EPOCHS = 3
MOST_TRIAL_STEPS = 1000


def range_test(
    spec: StepSpec,
    materials: Materials,
    runner: Runner,
    weights: Weights,
    distance: float | None = None,
) -> LRCurve:
    """Find a phase's learning rate on a copy of the state; changes nothing.

    If the rule is `auto` and training uses cached features, which is cheap, rates around the
    sweep's are tried for some epochs each, and the validation loss decides. Where the images'
    `distance` has been measured (`rebase.by_distance`), that decides.

    Raises:
      UserError: the loss never falls, or diverges at once.
    """
    finder = materials.settings.finder
    settings = sweep_settings(finder, spec.phase, distance is not None)
    curve = sweep_curve(spec, materials, runner, weights, settings)
    if distance is not None:
        return distances.decided(curve, materials.settings.model.name, distance)
    if finder.rule != AUTO or spec.phase.inputs != "cached":
        return curve
    quiet = materials._replace(console=Console(None))  # the phase has told of them
    valid_features = body_features(quiet, weights, "valid")

    def loss_of(lr: float) -> float:
        return trial(spec, materials, runner, weights, valid_features, lr)

    start = hosts.gather(curve.lr)[0]
    return trials.decided(curve, trials.climb(start, loss_of, finder.lo, finder.hi))


def sweep_settings(finder: FinderSettings, phase: Phase, by_distance: bool) -> FinderSettings:
    """Return the settings of a phase's sweep; it is shorter where the distance decides."""
    settings = settled(finder, phase.trains_body)
    return distances.bounded(settings) if by_distance else settings


def sweep_curve(
    spec: StepSpec,
    materials: Materials,
    runner: Runner,
    weights: Weights,
    settings: FinderSettings,
) -> LRCurve:
    """Sweep over the rates and apply the rules; raises as `range_test`."""
    rates = sweep.rates(settings)[: sweep.most_steps(settings)]
    unmoved = losses_at_rest(spec, materials, runner, weights, len(rates))

    def going_on(losses: list[float]) -> bool:
        # The first process's answer: where processors differ, the last bit might.
        return not hosts.gather(sweep.ended(np.asarray(losses), unmoved, settings))[0]

    losses, _ = try_rates(spec, materials, runner, weights, rates, going_on)
    count = len(losses)
    try:
        return choice.choose(rates[:count], losses, unmoved[:count], settings)
    except ValueError as error:
        raise UserError(f"No learning rate found for phase {spec.phase.name!r}: {error}") from None


def losses_at_rest(
    spec: StepSpec, materials: Materials, runner: Runner, weights: Weights, steps: int
) -> Float[np.ndarray, " steps"]:
    """Losses of these weights on a phase's first batches, views and dropout as in its steps.

    If the body trains, by forward passes; a step of the head is cheaper than a second program.
    """
    rates = np.zeros(steps)
    if not spec.phase.trains_body:
        return try_rates(spec, materials, runner, weights, rates)[0]
    with runners.closing(image_runner(spec, materials, step.make_still)) as still:
        return try_rates(spec, materials, still, weights, rates)[0]


def trial(
    spec: StepSpec,
    materials: Materials,
    runner: Runner,
    weights: Weights,
    valid_features: Float[np.ndarray, "examples features"],
    lr: float,
) -> float:
    """Validation loss after a phase's first cycle at a rate.

    A long one is shortened (`trial_rates`). A loss that is not finite ends the trial.
    """
    rates = trial_rates(spec.phase, lr, spec.steps_per_epoch)
    losses, after = try_rates(
        spec, materials, runner, weights, rates, lambda losses: bool(np.isfinite(losses[-1]))
    )
    if not np.isfinite(losses).all():
        return float("nan")
    return validate.score(materials, after, valid_features).val_loss


def trial_rates(phase: Phase, lr: float, steps_per_epoch: int) -> Float[np.ndarray, " steps"]:
    """Rates of a phase's first cycle, shortened to the most that a trial may take.

    The limits are MOST_TRIAL_EPOCHS and MOST_TRIAL_STEPS; the cycle still rises and falls.
    """
    whole = phase.cycle_lengths[0] * steps_per_epoch
    count = min(whole, MOST_TRIAL_EPOCHS * steps_per_epoch, MOST_TRIAL_STEPS)
    rates: np.ndarray = phase.rates(lr, steps_per_epoch)(np.arange(count) * whole // count)
    return rates


def try_rates(
    spec: StepSpec,
    materials: Materials,
    runner: Runner,
    weights: Weights,
    rates: Float[np.ndarray, " steps"],
    going_on: Callable[[list[float]], bool] = lambda _: True,
) -> tuple[Float[np.ndarray, " done"], Weights]:
    """Losses of a phase's first steps at these rates, or of fewer if `going_on` ends it.

    Works on a copy of the state, and also returns that copy's end. Rates of 0 give the losses of
    weights that do not move.
    """
    losses: list[float] = []
    ballot = Ballot(materials.stop)
    words = "finding the learning rate" if rates.any() else "the same steps at a rate of 0"
    with materials.console.bar(len(rates), words, "step") as bar:

        def sink(_: int, loss: float) -> bool:
            losses.append(loss)
            bar.update()
            return not ballot() and going_on(losses)

        state, frozen = step.start(spec, weights)
        state = sharding.replicate(state, materials.mesh)
        table, seed = rates_table(spec, materials, rates), materials.seed()
        state, *_ = runner(state, frozen, table, seed, 0, len(rates), sink)
    materials.demand_going_on()
    return np.asarray(losses), train_state.finish(state, frozen)


def find_rate(
    spec: StepSpec,
    materials: Materials,
    runner: Runner,
    weights: Weights,
    workdir: AnyPath,
    distance: float | None = None,
) -> LRCurve:
    """Run the range test of a phase, print it and write `lr_find/PHASE.json` and `.png`."""
    curve = range_test(spec, materials, runner, weights, distance)
    directory = workdir / "lr_find"
    paths.make_folder(directory)
    write_document(directory / f"{spec.phase.name}.json", curve_json(curve))
    title = f"{spec.phase.name}: {curve.rule} chooses {curve.lr:.2e}"
    plot_curve(curve, title, directory / f"{spec.phase.name}.png")
    materials.console.tell(rules_table(curve))
    return curve
