from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from jaxft.devices import sharding
from jaxft.errors import Interrupted
from jaxft.evaluation.validate import score
from jaxft.materials.extraction import extract
from jaxft.models.variables import Weights
from jaxft.runtime.ballot import Stop
from jaxft.training import drift
from jaxft.training.loop import validation_features
from jaxft.workdir.cursor import Cursor
from jaxft.workdir.snapshot import Best, Snapshot


@pytest.fixture(scope="module")
def materials(tmp_path_factory):
    return tiny.materials(tmp_path_factory.mktemp("cache"), phases=(tiny.phase(name="full"),))


@pytest.fixture(scope="module")
def weights(materials):
    return sharding.replicate(tiny.weights(materials.model), materials.mesh)


@pytest.fixture(scope="module")
def begun(materials, weights, tmp_path_factory):
    """A phase that has begun: its workdir, cursor, and the drift's measure."""
    workdir, cursor = tmp_path_factory.mktemp("run"), Cursor(least_loss=0.25)
    entry = Snapshot(weights, Best(weights, np.zeros(13)))
    features = validation_features(materials, weights)
    return workdir, cursor, drift.begun(materials, cursor, entry, features, workdir)


def changed(weights, group, factor):
    """Weights with the parameters of a group multiplied."""
    host = sharding.fetch(weights)
    params = {**host.params, group: scaled(host.params[group], factor)}
    return Weights(params, host.batch_stats)


def scaled(tree, factor):
    if isinstance(tree, dict):
        return {key: scaled(value, factor) for key, value in tree.items()}
    return tree * np.float32(factor)


def measured(materials, measure, weights):
    there = sharding.replicate(weights, materials.mesh)
    features = validation_features(materials, there)
    return measure.measure(there, score(materials, there, features), features)


def test_a_phase_begins_where_its_features_are_its_own(materials, weights, begun):
    _, cursor, _ = begun
    [start] = cursor.phase.drift
    assert start["epoch"] == 0 and start["images"] == 40 and start["valid_images"] == 13
    assert start["cosine"] == {"early": pytest.approx(1), "late": pytest.approx(1)}
    assert start["old_head"] == {key: start[key] for key in ("accuracy", "val_loss")}
    assert start["least_loss"] == 0.25
    losses = score(materials, weights, validation_features(materials, weights)).losses
    error = np.std(losses) / np.sqrt(13)
    assert start["rise"] == pytest.approx((start["val_loss"] - 0.25) / error, rel=1e-5)


def test_features_are_those_of_the_groups(materials, weights, begun):
    reference, images = begun[2].reference, materials.train_images
    late = extract(materials, weights, images, "features")
    np.testing.assert_allclose(reference.late, late, rtol=1e-5, atol=1e-6)
    assert reference.early.shape == (40, 4)


def test_another_late_group_leaves_early_features_alone(materials, weights, begun):
    found = measured(materials, begun[2], changed(weights, "late", 0.5))
    assert found["cka"]["early"] == pytest.approx(1)
    assert found["cka"]["late"] < 0.999
    assert found["old_head"] == {key: found[key] for key in ("accuracy", "val_loss")}


def test_another_head_leaves_features_alone_and_the_old_one_is_judged(materials, weights, begun):
    found, start = (
        measured(materials, begun[2], changed(weights, "head", 3)),
        begun[1].phase.drift[0],
    )
    assert found["cosine"]["late"] == pytest.approx(1)
    assert found["refitted_accuracy"] == start["refitted_accuracy"]
    assert found["old_head"]["val_loss"] == pytest.approx(start["val_loss"])
    assert found["val_loss"] > start["val_loss"]
    assert found["head_norm"] == pytest.approx(3 * start["head_norm"])
    assert found["gradient_norm"] > start["gradient_norm"]


def test_gradients_are_those_of_each_examples_loss(materials, weights):
    features = validation_features(materials, weights)[:4]
    labels = materials.dataset.valid.labels[:4]
    gradients = drift.make_gradients(materials.model)
    found = np.asarray(gradients(weights, *map(jnp.asarray, (features, labels))))

    def loss(features):
        return score(materials._replace(dataset=few(materials, labels)), weights, features).losses

    step = 1e-2 * found / np.linalg.norm(found, axis=1, keepdims=True)
    rise = (loss(features + step) - loss(features - step)) / 2e-2
    np.testing.assert_allclose(rise, np.linalg.norm(found, axis=1), rtol=2e-2)


def few(materials, labels):
    valid = materials.dataset.valid.select(np.arange(len(labels)))
    return materials.dataset.with_splits(materials.dataset.train, valid)


def test_a_phase_that_goes_on_measures_from_where_it_began(materials, weights, begun):
    workdir, cursor, measure = begun
    later = replace_settings(materials, drift_images=5)
    again = drift.resumed(later, cursor, workdir)
    other = changed(weights, "late", 0.5)
    assert measured(later, again, other) == measured(materials, measure, other)


def test_a_request_to_stop_interrupts_it(materials, weights, begun):
    workdir, cursor, _ = begun
    stop = Stop()
    stop.set()
    again = drift.resumed(materials._replace(stop=stop), cursor, workdir)
    with pytest.raises(Interrupted):
        measured(materials, again, weights)


def replace_settings(materials, **changes):
    return materials._replace(settings=replace(materials.settings, **changes))


@pytest.mark.parametrize("damage", ["gone", "empty", "cut"])
def test_without_its_reference_drift_is_measured_no_more(materials, begun, tmp_path, damage):
    workdir, cursor, _ = begun
    whole = (workdir / "drift/full.npz").read_bytes()
    (tmp_path / "drift").mkdir()
    if damage != "gone":
        left = b"" if damage == "empty" else whole[: len(whole) // 2]
        (tmp_path / "drift/full.npz").write_bytes(left)
    told: list[str] = []
    said = materials._replace(console=Saying(told))
    assert drift.resumed(said, cursor, tmp_path) is None
    assert "drift/full.npz can't be read; drift is measured no more" in told[0]


class Saying:
    """A console that keeps what is said."""

    def __init__(self, told):
        self.say = told.append


def test_a_phase_from_before_drift_was_measured_goes_on_without(materials, tmp_path):
    told: list[str] = []
    assert drift.resumed(materials._replace(console=Saying(told)), Cursor(), tmp_path) is None
    assert not told


def test_images_are_the_same_in_every_run_and_as_many_as_there_are(materials):
    chosen = [drift.chosen_images(materials, most).split.names for most in (5, 5, 1000)]
    assert chosen[0] == chosen[1] and len(chosen[0]) == 5
    assert len(chosen[2]) == 40
