"""The range test: its rules on hand-made curves, its end, and the state left unchanged."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import tiny
from places import GOLDEN

from jaxft.devices import sharding
from jaxft.errors import UserError
from jaxft.recipe.finder import choice, sweep, trend
from jaxft.recipe.finder.curve import Paired, Trials
from jaxft.recipe.finder.rules import RULES
from jaxft.recipe.finder.settings import FinderSettings, settled
from jaxft.recipe.finder.trials import MOST_TRIALS, TRIAL, climb, decided
from jaxft.training import fit, range_test, step, train_state
from jaxft.training.phase_spec import make_spec
from jaxft.training.runners import rates_table

SCHEDULES = json.loads((GOLDEN / "schedules.json").read_text())
SETTINGS = FinderSettings()
RATES = sweep.rates(SETTINGS)
# Flat, falling over points 30 to 69, flat at the bottom, rising from point 85.
CURVE = np.interp(np.arange(100), [0, 30, 70, 85, 99], [3, 3, 1, 1, 2.4])
AT_REST = np.full(100, 3.0)  # losses of the unmoved weights


def _rule(name, losses, smoothed=None, settings=SETTINGS):
    """(rate or None, reason) of a rule on a curve that needs no smoothing."""
    smoothed = losses if smoothed is None else smoothed
    rates, mean_and_error = RATES[: len(losses)], trend.trend(losses, 100)
    return RULES[name](Paired(rates, losses, smoothed, *mean_and_error, 0.5), settings)


def test_the_sweep_goes_from_lo_to_hi():
    assert len(RATES) == 100
    np.testing.assert_allclose(RATES[[0, -1]], [1e-7, 10])


def test_smoothing_is_corrected_for_its_start_at_zero():
    np.testing.assert_allclose(trend.smooth(np.full(50, 2.5), 0.98), 2.5)
    by_hand = [4, (0.5 * 0.5 * 4 + 0.5 * 1) / 0.75, (0.125 * 4 + 0.25 * 1 + 0.5 * 2) / 0.875]
    np.testing.assert_allclose(trend.smooth(np.array([4.0, 1.0, 2.0]), 0.5), by_hand)


# When it stops. beta = 0: the smoothed losses are the raw ones.

RAW = replace(SETTINGS, beta=0.0)
RAW_LIMIT = replace(SETTINGS, stop_factor=1e9)


def test_it_stops_above_four_times_the_best():
    losses = np.array([1.0] * 12 + [3.9, 4.1, 1.0])
    assert sweep.stop_at(losses[:13], RAW) is None
    assert sweep.stop_at(losses[:14], RAW) == 13
    assert sweep.stop_at(losses, RAW) == 13


def test_the_best_counts_only_after_ten_steps():
    assert sweep.stop_at(np.array([0.1, *[3.0] * 20]), RAW) is None
    assert sweep.stop_at(np.array([3.0] * 10 + [0.1] + [3.0]), RAW) == 11
    assert sweep.stop_at(np.array([3.0] * 9 + [0.1] + [3.0] * 9), RAW) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_it_stops_at_a_loss_that_is_not_finite(bad):
    assert sweep.stop_at(np.array([1.0] * 5 + [bad, 1.0]), SETTINGS) == 5
    assert sweep.stop_at(np.array([bad]), SETTINGS) == 0


# The rules.


@pytest.mark.parametrize("golden", SCHEDULES["valley"])
def test_valley_chooses_what_fastai_chooses(golden):
    """fastai's function got the curve less its first tenth and last five points."""
    curve = np.array(golden["curve"])
    assert _rule("valley", curve)[0] == RATES[golden["index"]]


def test_valley_by_hand():
    # Points 30 to 70 fall (41 of them): s = 70 - 41, and a third and a sixth of 41 on.
    assert _rule("valley", CURVE)[0] == RATES[29 + 13 + 6]
    # What falls in the first tenth or the last five points is not looked at.
    hidden = np.interp(np.arange(100), [0, 9, 40, 60, 94, 95, 99], [9, 5, 5, 4, 4, 0.4, 0.0])
    assert _rule("valley", hidden)[0] == RATES[60 - 21 + 7 + 3]


def test_valley_of_a_curve_that_only_rises_is_none():
    assert _rule("valley", np.arange(100.0))[0] is None


def test_minimum_is_a_tenth_of_the_rate_at_the_least_smoothed_loss():
    smoothed = CURVE.copy()
    smoothed[77] = 0.5
    assert _rule("minimum", CURVE, smoothed)[0] == pytest.approx(RATES[77] / 10)
    assert _rule("minimum", np.arange(100.0))[0] is None


def test_an_easy_batch_among_the_first_steps_does_not_make_the_minimum():
    smoothed = CURVE.copy()
    smoothed[77], smoothed[3] = 0.5, 0.4
    assert _rule("minimum", CURVE, smoothed)[0] == pytest.approx(RATES[77] / 10)
    # Nor does it bind still_improving, which stays below the minimum.
    noise = 0.02 * np.random.RandomState(0).standard_normal(100)
    assert _rule("still_improving", CURVE + noise, smoothed)[0] > RATES[30]


def test_steep_is_where_the_smoothed_loss_falls_fastest():
    dip = CURVE - 3 / (1 + np.exp(-(np.arange(100) - 52)))
    assert _rule("steep", CURVE, dip)[0] == RATES[52]
    assert _rule("steep", np.arange(100.0))[0] is None


def test_slide_stops_where_the_slopes_fifteen_points_apart_agree():
    # Slopes: 0 to point 60, then growing by 0.1 a point.
    x = np.arange(100.0)
    curve = 5 + 0.05 * np.maximum(x - 60, 0) ** 2
    slopes = np.gradient(curve)
    lr, _ = _rule("slide", curve)
    # As fastai's: the window's left end one step before the slopes agree.
    left = int(np.flatnonzero(lr == RATES)[0]) - 1
    assert abs(slopes[left] - slopes[left + 15]) <= 0.005
    assert all(abs(slopes[i] - slopes[i + 15]) > 0.005 for i in range(left + 1, 85))
    assert _rule("slide", x**2)[0] is None


def test_still_improving_is_the_highest_rate_of_a_clear_fall():
    noise = 0.02 * np.random.RandomState(0).standard_normal(100)
    wide = replace(SETTINGS, window_fraction=0.1)
    lr, reason = _rule("still_improving", CURVE + noise, settings=wide)
    # `minimum` of this curve lies beyond the fall, so that the fall itself decides or its bound.
    ceiling, _ = _rule("minimum", CURVE + noise)
    assert lr is not None and lr <= ceiling
    assert RATES[30] < lr < RATES[75]
    assert "still falling" in reason


def test_still_improving_reads_the_raw_losses_not_the_smoothed():
    flat = np.full(100, 2.3)
    assert _rule("still_improving", flat, CURVE)[0] is None


def test_still_improving_is_never_above_minimum():
    falling = np.linspace(3, 1, 100)
    smoothed = np.abs(np.arange(100) - 60) / 60
    lr, _ = _rule("still_improving", falling, smoothed)
    assert lr == max(rate for rate in RATES if rate <= RATES[60] / 10)


def test_still_improving_asks_for_k_standard_errors():
    noise = 0.5 * np.random.RandomState(1).standard_normal(100)
    strict = replace(SETTINGS, k=6.0)
    assert _rule("still_improving", CURVE + noise)[0] is not None
    assert _rule("still_improving", CURVE + noise, settings=strict)[0] is None


def test_noise_around_a_loss_that_never_changes_gives_no_rate_at_a_strict_k():
    strict = replace(SETTINGS, k=5.0)
    for seed in range(20):
        noise = np.random.RandomState(seed).standard_normal(100)
        assert _rule("still_improving", 3 + 0.1 * noise, settings=strict)[0] is None


def test_a_slope_that_never_gets_below_the_first_losses_does_not_count():
    losses = np.full(100, 2.0)
    losses[:14] += np.resize([1, -1], 14)  # noisy, so that nothing later is clearly above
    losses[40:54] = np.linspace(2.3, 2.0, 14)
    assert _rule("still_improving", losses, CURVE)[0] is None


def test_where_the_loss_rises_before_it_falls_the_rate_is_a_tenth_of_that():
    losses = np.where(np.arange(100) < 60, 0.1, 0.1 + (np.arange(100) - 59) * 0.1)
    lr, reason = _rule("still_improving", losses)
    # Clearly: the window is well inside the rise before it counts.
    assert RATES[60] / 10 < lr < RATES[70] / 10
    assert "rises" in reason


def test_a_tenth_of_where_the_loss_rises_is_never_above_minimum():
    losses = np.interp(np.arange(100), [0, 60, 99], [2, 2, 40])
    smoothed = np.where(np.arange(100) <= 20, 2 - np.arange(100) / 100, 1.8)
    smoothed[21:] += np.arange(79)
    lr, reason = _rule("still_improving", losses, smoothed)
    assert lr == pytest.approx(RATES[20] / 10)
    assert "`minimum` allows" in reason


def test_losses_that_are_all_the_same_give_no_rate():
    flat = np.full(100, 2.3)
    for name in ("still_improving", "valley", "minimum"):
        assert _rule(name, flat)[0] is None


# Choosing.


def test_choose_reports_every_rule_and_takes_the_one_asked_for():
    for name in RULES:
        curve = choice.choose(RATES, CURVE, AT_REST, replace(SETTINGS, rule=name))
        assert set(curve.rules) == set(RULES)
        assert (curve.rule, curve.lr) == (name, curve.rules[name][0])
        assert curve.reason == curve.rules[name][1]


def test_where_the_rule_finds_none_the_next_one_that_does_is_taken_and_said():
    settings = replace(SETTINGS, rule="still_improving", k=math.inf)
    curve = choice.choose(RATES, CURVE, AT_REST, settings)
    assert curve.rule == "valley"
    assert curve.reason.startswith("still_improving found none; middle of the longest valley")


def test_choose_uses_the_curve_up_to_where_it_stops():
    losses = np.append(CURVE[:80], [np.nan] * 20)
    curve = choice.choose(RATES, losses, AT_REST, SETTINGS)
    assert len(curve.rates) == len(curve.losses) == len(curve.trend) == 80


def test_a_curve_too_short_says_what_to_change():
    with pytest.raises(ValueError, match=r"diverged after 3 steps.*lower config.finder.lo"):
        choice.choose(RATES, np.append([2.0] * 3, np.nan), AT_REST, SETTINGS)


def test_a_loss_that_only_rises_gives_no_rate():
    rising = 1 + np.arange(100.0) ** 2 / 100  # too steep at its right end for `slide` too
    with pytest.raises(ValueError, match="never fell"):
        settings = replace(RAW, k=math.inf, stop_factor=1e9)
        choice.choose(RATES, rising, AT_REST, settings)


# Pairing.


def test_the_rules_read_what_the_rates_did_and_not_how_hard_the_batches_are():
    hard = np.random.RandomState(0).standard_normal(100)
    curve = choice.choose(RATES, CURVE + hard, AT_REST + hard, RAW_LIMIT)
    easy = choice.choose(RATES, CURVE, AT_REST, RAW_LIMIT)
    assert curve.lr == easy.lr
    np.testing.assert_allclose(curve.paired, CURVE - 3)


def test_the_trend_is_a_local_mean_with_its_standard_error():
    found = np.array([trend.trend(row, 100) for row in np.random.RandomState(0).randn(400, 100)])
    mean, error = found[:, 0], found[:, 1]
    np.testing.assert_allclose(mean[:, 50].std(), error[:, 50].mean(), rtol=0.2)
    line, _ = trend.trend(np.arange(100.0), 100)
    assert line[50] == pytest.approx(50)


def test_fall_is_where_the_trend_has_fallen_two_thirds_of_the_way():
    noise = 0.05 * np.random.RandomState(0).standard_normal(100)
    lr, reason = _rule("fall", CURVE - 3 + noise)
    assert RATES[54] <= lr <= RATES[60]  # the fall is from point 30 to 70
    assert reason.startswith("two thirds of the loss's deepest fall, 1.9")


def test_fall_sees_a_fall_beside_losses_that_diverge_after_it():
    diverging = CURVE - 3 + 50 * np.exp(np.minimum(np.arange(100) - 96, 0))
    lr, reason = _rule("fall", diverging)
    assert RATES[54] <= lr <= RATES[60]
    assert "deepest fall" in reason


def test_fall_is_of_the_first_minimum_and_not_of_a_deeper_one_beyond_harm():
    noise = 0.03 * np.random.RandomState(0).standard_normal(100)
    twice = np.interp(np.arange(100), [0, 20, 40, 60, 90, 99], [0, 0, -1, 1, -3, -3])
    lr, _ = _rule("fall", twice + noise)
    assert RATES[29] <= lr <= RATES[36]


def test_fall_of_losses_that_only_rise_is_a_tenth_of_the_rate_where_they_do():
    noise = 0.05 * np.random.RandomState(0).standard_normal(100)
    lr, reason = _rule("fall", np.maximum(np.arange(100) - 60, 0) / 10 + noise)
    assert RATES[54] / 10 < lr < RATES[66] / 10  # the trend sees 6 steps ahead
    assert "never falls clearly" in reason


RISING = replace(SETTINGS, rule="rise")


def test_rise_is_two_thirds_of_the_rate_where_the_loss_has_risen_by_half_a_nat():
    # It falls to -0.6 before; by 0.5 it has risen from there at step 65.
    bowl = np.interp(np.arange(100), [0, 30, 60, 80, 99], [0, 0, -0.6, 1.4, 4])
    noise = 0.1 * np.random.default_rng(8).normal(size=100)
    lr, reason = _rule("rise", bowl + noise, settings=RISING)
    assert RATES[62] < 1.5 * lr < RATES[69] and "risen by 0.5" in reason


@pytest.mark.parametrize("end", [0.4, 8.0])
def test_rise_of_a_loss_that_does_not_rise_in_time_is_two_thirds_of_a_tenth_of_the_highest(end):
    noise = 0.05 * np.random.default_rng(9).normal(size=100)
    late = np.interp(np.arange(100), [0, 96, 99], [0, 0, end]) + noise
    lr, reason = _rule("rise", late, settings=RISING)
    assert lr == pytest.approx(RISING.hi / 15) and "never rises by 0.5" in reason


def test_rise_of_a_loss_that_explodes_is_not_read_into_the_steps_before():
    explosion = 0.1 * 3.0 ** np.maximum(np.arange(100) - 72, 0) - 0.1  # 0.5 is passed at step 74
    lr, _ = _rule("rise", explosion, settings=RISING)
    assert RATES[68] < 1.5 * lr < RATES[75]


def test_a_small_loss_is_harmed_when_it_has_doubled():
    # A network of two classes that comes to answer the same for every image loses ln 2 at most.
    collapse = np.interp(np.arange(100), [0, 60, 70, 99], [0, 0, 0.4, 0.4])
    small, large = (
        choice.choose(RATES, rest + collapse, np.full(100, rest), RISING) for rest in (0.3, 3.0)
    )
    assert RATES[64] < 1.5 * small.lr < RATES[72] and "risen by 0.3" in small.reason
    assert large.lr == pytest.approx(RISING.hi / 15)


def test_rise_in_a_narrow_sweep_takes_a_rate_of_it():
    narrow = replace(RISING, lo=1e-3, hi=5e-3)
    rates = sweep.rates(narrow)
    losses = 3 + np.where(np.arange(100) < 90, 0, 1.0) + 0.02 * np.sin(np.arange(100.0))
    curve = choice.choose(rates, losses, AT_REST, narrow)
    assert narrow.lo < curve.lr < narrow.hi


def test_rise_does_not_stand_in_where_the_loss_never_rises():
    assert _rule("rise", np.linspace(0, 0.4, 100))[0] is None


@pytest.mark.parametrize("end", [math.nan, 1000.0])
@pytest.mark.parametrize("count", [12, 70])
def test_rise_is_two_thirds_of_the_rate_where_the_loss_diverges_at_once(end, count):
    flat = 3 + 0.02 * np.random.default_rng(10).normal(size=count)
    losses = np.append(flat, [end] * 3)
    at_rest = np.full(count + 3, 3.0)
    curve = choice.choose(RATES, losses, at_rest, RISING)
    assert curve.rule == "rise" and "diverged" in curve.reason
    assert RATES[count] * 0.999 <= 1.5 * curve.lr <= RATES[count + 2]


def test_a_sweep_by_rise_ends_soon_after_its_rate_is_found_and_finds_the_same():
    bowl = np.interp(np.arange(100), [0, 30, 60, 80, 99], [0, 0, -0.6, 1.4, 4])
    losses = AT_REST + bowl + 0.1 * np.random.default_rng(8).normal(size=100)
    ends = [n for n in range(100) if sweep.ended(losses[:n], AT_REST, RISING)]
    count = ends[0]
    assert 78 <= count <= 86  # the rise is at step 65, and the trend sees 16 steps ahead
    lr = choice.choose(RATES[:count], losses[:count], AT_REST[:count], RISING).lr
    assert lr == pytest.approx(choice.choose(RATES, losses, AT_REST, RISING).lr, rel=0.21)
    assert not sweep.ended(losses, AT_REST, SETTINGS)


def test_a_sweep_by_rise_goes_no_further_than_a_rise_is_looked_for():
    short = replace(RISING, lo=1e-4, hi=0.1, steps=40)
    losses = 3 + 0.02 * np.random.default_rng(12).normal(size=40)
    ends = [n for n in range(41) if sweep.ended(losses[:n], np.full(40, 3.0), short)]
    assert ends[0] == sweep.most_steps(short) == 34  # 0.01 is step 27; the trend is 2.5 wide
    assert sweep.rates(short)[27] == pytest.approx(0.0119, rel=0.01)


@pytest.mark.parametrize(
    ("changes", "count"),
    [({}, 100), ({"rule": "rise", "steps": 50}, 41), ({"rule": "rise", "steps": 400}, 330)],
)
def test_no_sweep_has_more_steps_than_it_may_need(changes, count):
    settings = replace(SETTINGS, **{"lo": 1e-4, "hi": 0.1, **changes})
    assert sweep.most_steps(settings) == count
    at_rest = np.full(settings.steps, 3.0)
    losses = 3 + 0.02 * np.random.default_rng(12).normal(size=settings.steps)
    looks = range(settings.steps + 1)
    ends = [n for n in looks if sweep.ended(losses[:n], at_rest, settings)]
    assert [*ends, settings.steps][0] == count


def test_a_short_rise_early_in_a_long_sweep_is_noise():
    # Larger than a rise by half a nat, but four steps long: the mean of a hundred steps is wider.
    losses = AT_REST + 0.05 * np.random.default_rng(11).normal(size=100)
    losses[20:24] += 2.0
    rising = replace(RISING, steps=400)
    assert not any(sweep.ended(losses[:n], AT_REST, rising) for n in range(100))


def test_auto_is_a_rule_for_the_head_and_one_for_the_body():
    auto = replace(SETTINGS, rule="auto")
    assert settled(auto, trains_body=False).rule == "fall"
    assert settled(auto, trains_body=True).rule == "rise"
    assert settled(SETTINGS, trains_body=True) == SETTINGS


# Trials: rates are tried until the best has two worse ones on either side.


ENDS = (1e-6, 10.0)


def _bowl(lowest, tried):
    def loss_of(lr):
        tried.append(lr)
        return 1 + abs(np.log2(lr / lowest))

    return loss_of


@pytest.mark.parametrize("start", [1.1e-3, 8e-3, 3e-2])
def test_a_climb_ends_where_two_rates_on_either_side_are_worse(start):
    tried: list[float] = []
    trials = climb(start, _bowl(4e-3, tried), *ENDS)
    assert sorted(tried) == trials.rates.tolist() and len(set(tried)) == len(tried)
    best = int(np.argmin(trials.losses))
    assert trials.rates[best] == 4e-3 and 2 <= best <= len(tried) - 3
    np.testing.assert_array_equal(trials.rates[1:], 2 * trials.rates[:-1])
    assert tried[0] == pytest.approx(start, rel=0.42)


def test_a_climb_passes_over_one_rate_that_is_worse_by_chance():
    losses = {1e-3: 1.0, 2e-3: 1.2, 4e-3: 1.3, 8e-3: 1.25, 1.6e-2: 1.4, 3.2e-2: 1.5}
    trials = climb(8e-3, lambda lr: losses.get(lr, 2.0), *ENDS)
    assert trials.rates[np.argmin(trials.losses)] == 1e-3


def test_a_climb_takes_a_loss_that_is_no_number_for_the_worst_and_has_an_end():
    trials = climb(4e-3, lambda lr: math.nan if lr > 2e-3 else 1.0 + lr, *ENDS)
    assert trials.rates[np.argmin(trials.losses)] < 4e-3
    assert len(trials.rates) == MOST_TRIALS  # the loss falls ever on
    assert len(climb(1e-3, lambda lr: lr, *ENDS).rates) == MOST_TRIALS


def test_a_climb_stays_between_the_ends_of_the_sweep():
    trials = climb(0.05, lambda lr: 1 / lr, 3e-3, 0.1)
    assert trials.rates.tolist() == [0.016, 0.032, 0.064]
    assert climb(1e-4, lambda lr: lr, 3e-3, 0.1).rates.tolist() == [0.004, 0.008, 0.016]


def test_where_every_trial_diverges_the_sweep_decides():
    curve = choice.choose(RATES, CURVE, AT_REST, SETTINGS)
    trials = climb(4e-3, lambda lr: math.nan, *ENDS)
    assert decided(curve, trials) is curve


@pytest.mark.parametrize("cycle", [{"schedule": "one_cycle", "epochs": 20}, {"epochs": 4}])
@pytest.mark.parametrize("steps_per_epoch", [31, 5000])
def test_a_trial_goes_through_the_whole_of_a_cycle_in_fewer_steps(cycle, steps_per_epoch):
    phase = tiny.phase(lr="find", **cycle)
    rates = range_test.trial_rates(phase, 0.1, steps_per_epoch)
    assert len(rates) == min(3 * steps_per_epoch, 1000)
    assert rates.max() == pytest.approx(0.1, rel=1e-3)
    if "schedule" in cycle:
        assert rates[-1] < 0.001 and rates[0] < 0.01


def test_a_short_cycle_is_tried_as_it_is():
    phase = tiny.phase(lr="find", schedule="sgdr", cycles=2, cycle_epochs=2, warmup_epochs=1.0)
    rates = range_test.trial_rates(phase, 0.1, 10)
    np.testing.assert_array_equal(rates, phase.rates(0.1, 10)(np.arange(20)))


def test_a_loss_that_is_no_number_ends_a_trial(tmp_path):
    materials = tiny.materials(tmp_path, phases=(tiny.phase(lr="find", inputs="cached"),))
    told: list[bool] = []

    def runner(state, *args):
        told.extend(args[-1](n, loss) for n, loss in enumerate([1.0, np.nan]))
        return state, 2, 0.0

    spec, start = make_spec(materials, 0), tiny.weights(materials.model)
    no_features = np.zeros((0, 4), np.float32)
    assert math.isnan(range_test.trial(spec, materials, runner, start, no_features, 0.1))
    assert told == [True, False]


def test_trials_decide_and_say_by_what():
    curve = choice.choose(RATES, CURVE, AT_REST, SETTINGS)
    trials = Trials(np.array([1e-3, 2e-3]), np.array([0.9, 0.6]))
    chosen = decided(curve, trials)
    assert (chosen.lr, chosen.rule) == (2e-3, TRIAL)
    assert chosen.rules == {TRIAL: (2e-3, chosen.reason), **curve.rules}
    told = "0.6000; 0.9000 at half of it; not tried at twice it"
    assert told in chosen.reason and chosen.trials == trials


def test_fall_of_noise_is_none():
    noise = np.random.RandomState(0).standard_normal((200, 50))
    found = [_rule("fall", row)[0] for row in noise]
    assert sum(lr is not None for lr in found) < 30


# Law 5: the range test changes nothing. The same runner serves it and the fit.


@pytest.mark.slow
@pytest.mark.parametrize("source", ["augmented", "cached"])
def test_a_fit_is_bit_identical_with_and_without_a_range_test_before_it(tmp_path, source):
    phase = tiny.phase(lr="find", inputs=source)
    materials = tiny.materials(tmp_path, phases=(phase,))
    finder = replace(materials.settings.finder, steps=20, lo=1e-3)
    materials = materials._replace(settings=replace(materials.settings, finder=finder))
    spec = make_spec(materials, 0)
    start = sharding.replicate(tiny.weights(materials.model), materials.mesh)
    runner = fit.make_runner(spec, materials, start)

    def trained():
        losses: list[float] = []
        state, frozen = step.start(spec, start)
        state = sharding.replicate(state, materials.mesh)
        table = rates_table(spec, materials, np.full(5, 0.1))
        seed = materials.seed()
        state, done, _ = runner(state, frozen, table, seed, 0, 5, tiny.keeping(losses))
        assert done == 5
        return losses, sharding.fetch(train_state.finish(state, frozen))

    losses, weights = trained()
    first = range_test.range_test(spec, materials, runner, start)
    second = range_test.range_test(spec, materials, runner, start)
    np.testing.assert_array_equal(first.losses, second.losses)
    assert first.rule == {"augmented": "fall", "cached": TRIAL}[source]
    if first.trials and second.trials:
        np.testing.assert_array_equal(first.trials.losses, second.trials.losses)
    losses_after, weights_after = trained()
    assert losses == losses_after
    for group in weights.params:
        for tree, tree_after in zip(weights, weights_after, strict=True):
            assert str(tree[group]) == str(tree_after[group])


def test_a_range_test_that_fails_names_its_phase(tmp_path):
    materials = tiny.materials(tmp_path, phases=(tiny.phase(name="heads", lr="find"),))

    def runner(state, *args):
        sink = args[-1]
        return state, sum(sink(n, 2.0 if n < 5 else np.nan) is not None for n in range(6)), 0.0

    start = tiny.weights(materials.model)
    with pytest.raises(UserError, match="'heads'"):
        range_test.range_test(make_spec(materials, 0), materials, runner, start)
