"""Rates against PyTorch's, fastai's (tests/golden/make_schedules.py) and hand-computed ones."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from places import GOLDEN

from jaxft.recipe import schedules

SCHEDULES = json.loads((GOLDEN / "schedules.json").read_text())


@pytest.mark.parametrize("golden", SCHEDULES["warm_restarts"], ids=lambda g: f"mult{g['mult']}")
def test_sgdr_equals_pytorchs_warm_restarts_at_every_step(golden):
    steps = len(golden["rates"])
    cycles = 1
    while sum(schedules.cycle_lengths(cycles, golden["first"], golden["mult"])) < steps:
        cycles += 1
    assert cycles >= 3
    lengths = schedules.cycle_lengths(cycles, golden["first"], golden["mult"])
    rates = schedules.sgdr(golden["lr"], lengths)(np.arange(steps))
    np.testing.assert_allclose(rates, golden["rates"], rtol=1e-7)


@pytest.mark.parametrize("golden", SCHEDULES["one_cycle"], ids=lambda g: str(g["steps"]))
def test_one_cycle_equals_fastais(golden):
    steps = np.arange(golden["steps"])
    rates = schedules.one_cycle(golden["lr"], len(steps))(steps)
    momenta = schedules.one_cycle_momentum(len(steps))(steps)
    # fastai computes them in float32.
    np.testing.assert_allclose(rates, golden["rates"], rtol=1e-5, atol=golden["lr"] * 1e-7)
    np.testing.assert_allclose(momenta, golden["momenta"], rtol=1e-6)


def test_one_cycle_by_hand():
    rate, momentum = schedules.one_cycle(1.0, 8), schedules.one_cycle_momentum(8)
    middle = (1 / 25 + 1) / 2
    np.testing.assert_allclose(rate(np.array([0, 1, 2])), [1 / 25, middle, 1], rtol=1e-12)
    np.testing.assert_allclose(rate(np.array([5, 8])), [(1 + 1e-5) / 2, 1e-5], rtol=1e-9)
    np.testing.assert_allclose(momentum(np.array([0, 1, 2, 5])), [0.95, 0.9, 0.85, 0.9])


def test_cycles_grow_by_the_multiplier():
    assert schedules.cycle_lengths(3, 1, 2) == (1, 2, 4)
    assert schedules.cycle_lengths(3, 5, 1) == (5, 5, 5)


def test_every_restart_has_the_same_peak_and_no_step_of_a_cycle_stands_still():
    rates = schedules.sgdr(0.2, (4, 8, 16))(np.arange(29))
    np.testing.assert_allclose(rates[[0, 4, 12]], 0.2, rtol=1e-12)
    np.testing.assert_allclose(rates[[2, 8, 20]], 0.1, rtol=1e-12)
    assert (rates[:28] > 0).all()
    assert rates[28] == pytest.approx(0)


def test_warm_up_rises_linearly_and_does_not_consume_the_cosine():
    cosine = schedules.sgdr(0.4, (6, 6))
    rates = schedules.warm_up(cosine, 3)(np.arange(15))
    np.testing.assert_allclose(rates[:3], [0.1, 0.2, 0.3])
    np.testing.assert_allclose(rates[3:], cosine(np.arange(12)))
    assert schedules.warm_up(cosine, 0) is cosine


def test_the_sweep_is_even_on_a_logarithmic_axis():
    rates = schedules.exponential_sweep(1e-5, 10, 7)(np.arange(7))
    np.testing.assert_allclose(rates, 10.0 ** np.arange(-5, 2), rtol=1e-12)


def test_constant():
    np.testing.assert_array_equal(schedules.constant(0.1)(np.arange(3)), [0.1] * 3)


@pytest.mark.parametrize(
    "schedule",
    [
        schedules.constant(0.1),
        schedules.sgdr(0.1, (5, 10)),
        schedules.one_cycle(0.1, 15),
        schedules.one_cycle_momentum(15),
        schedules.exponential_sweep(1e-4, 1.0, 15),
        schedules.warm_up(schedules.sgdr(0.1, (4, 8)), 3),
    ],
)
def test_int_numpy_and_traced_steps_agree(schedule):
    steps = np.arange(15)
    by_numpy = schedule(steps)
    assert by_numpy.dtype == np.float64
    by_int = [float(schedule(int(step))) for step in steps]
    np.testing.assert_allclose(by_int, by_numpy, rtol=1e-12)
    traced = jax.jit(jax.vmap(schedule))(jnp.arange(15))
    np.testing.assert_allclose(traced, by_numpy, rtol=1e-5, atol=1e-7)


def test_half_way_down_a_cosine_by_hand():
    third = schedules.sgdr(2.0, (9,))(3)
    assert math.isclose(third, 1 + math.cos(math.pi / 3), rel_tol=1e-12)
