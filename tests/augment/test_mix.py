"""Mixup and cutmix: pairs of neighbours, shares of labels that are those of the pixels."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxft.augment import mix
from jaxft.augment.presets import PRESETS

NONE = PRESETS["none"]
MIXUP = dataclasses.replace(NONE, mixup_alpha=0.4)
CUTMIX = dataclasses.replace(NONE, cutmix_alpha=1.0)
BOTH = dataclasses.replace(NONE, mixup_alpha=0.4, cutmix_alpha=1.0)


@pytest.fixture(scope="module")
def views():
    return jnp.asarray(np.random.default_rng(0).random((8, 12, 12, 3)), jnp.float32)


@pytest.fixture(scope="module")
def keys():
    return jax.random.split(jax.random.key(5), 8)


def test_partners_are_neighbours():
    assert mix.partner(jnp.arange(6)).tolist() == [1, 0, 3, 2, 5, 4]


@pytest.mark.slow
def test_mixup_is_the_weighted_mean_with_the_partner(views, keys):
    mixed, share = (np.asarray(a) for a in mix.mix(views, keys, MIXUP))
    other = np.asarray(views)[[1, 0, 3, 2, 5, 4, 7, 6]]
    blend = share[:, None, None, None]
    np.testing.assert_allclose(mixed, blend * views + (1 - blend) * other, atol=1e-6)
    assert len(set(share)) == 8 and share.min() >= 0.5


def test_cutmix_pastes_a_rectangle_whose_area_is_the_label_s_share(views, keys):
    mixed, share = (np.asarray(a) for a in mix.mix(views, keys, CUTMIX))
    drawn = mix.draw(keys, CUTMIX)
    own, other = np.asarray(views), np.asarray(views)[[1, 0, 3, 2, 5, 4, 7, 6]]
    for i in range(8):
        side, centres = np.sqrt(1 - drawn.share[i]), (np.arange(12) + 0.5) / 12
        within = [abs(centres - at) <= side / 2 for at in (drawn.y[i], drawn.x[i])]
        pasted = np.asarray(within[0][:, None] & within[1][None, :])
        np.testing.assert_array_equal(mixed[i], np.where(pasted[..., None], other[i], own[i]))
        assert share[i] == pytest.approx(1 - pasted.mean(), abs=1e-6)


@pytest.mark.slow
def test_draws_follow_their_distributions():
    keys = jax.random.split(jax.random.key(0), 20_000)
    draw = jax.jit(mix.draw, static_argnums=1)
    share = np.asarray(draw(keys, MIXUP).share, np.float64)
    quantiles = (0.1, 0.3, 0.5, 0.7, 0.9)
    # The greater of two that sum to 1: its distribution is twice the upper half of the beta's.
    expected = stats.beta(0.4, 0.4).ppf(0.5 + np.array(quantiles) / 2)
    np.testing.assert_allclose(np.quantile(share, quantiles), expected, atol=0.01)
    cut = draw(keys, CUTMIX)
    assert np.asarray(cut.cut).all()
    np.testing.assert_allclose(np.quantile(cut.share, quantiles), quantiles, atol=0.015)
    np.testing.assert_allclose(np.quantile(cut.x, quantiles), quantiles, atol=0.015)
    half = dataclasses.replace(BOTH, mix_probability=0.6)
    both = draw(keys, half)
    assert np.mean(np.asarray(both.share) < 1) == pytest.approx(0.6, abs=0.02)
    assert np.mean(both.cut) == pytest.approx(0.3, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [MIXUP, CUTMIX, BOTH], ids=["mixup", "cutmix", "both"])
def test_a_pair_is_mixed_alike_in_any_batch(views, keys, settings):
    run = jax.jit(partial(mix.mix, settings=settings))
    whole, shares = run(views, keys)
    for first in range(0, 8, 2):
        pair = slice(first, first + 2)
        part, share = run(views[pair], keys[pair])
        np.testing.assert_array_equal(part, whole[pair])
        np.testing.assert_array_equal(share, shares[pair])


def test_mixing_nothing_changes_nothing(views, keys):
    mixed, share = mix.mix(views, keys, dataclasses.replace(BOTH, mix_probability=0.0))
    np.testing.assert_array_equal(mixed, views)
    assert (share == 1).all()
