"""Skewed classes: the balanced order, the weights, and what both do to training."""

import io

import drawn_images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_config
from unfold import unfolded

from jaxft import run
from jaxft.data import balance
from jaxft.data.balance import Balance
from jaxft.data.batches import Stretch, eval_batches, train_batches
from jaxft.data.order import epoch_order, host_order
from jaxft.data.slots import Slots
from jaxft.devices import sharding
from jaxft.features import inference
from jaxft.features.inference import make_forward
from jaxft.models.variables import Weights
from jaxft.runtime import digests
from jaxft.runtime.console import Console
from jaxft.training import step, train_state
from jaxft.training.spec import StepSpec
from jaxft.training.train_state import TrainBatch
from jaxft.workdir import checkpoint
from jaxft.workdir.rows import read_rows

LABELS = np.random.default_rng(0).permutation([0] * 60 + [1] * 7 + [2] * 30 + [4] * 6)  # no 3
COUNTS = balance.counts_of(LABELS, 6)  # nor 5


def order(seed: int = 1) -> np.ndarray:
    return host_order(seed, 2, 3, len(LABELS), LABELS)


class TestOrder:
    def test_every_class_equally_often(self):
        drawn = order()
        assert drawn.dtype == np.int32 and len(drawn) == 103
        assert sorted(np.bincount(LABELS[drawn], minlength=5)) == [0, 25, 26, 26, 26]

    def test_all_of_a_class_before_any_of_it_again(self):
        times = np.bincount(order(), minlength=103)
        for label in (0, 1, 2, 4):
            assert np.ptp(times[label == LABELS]) <= 1

    def test_the_first_half_of_an_epoch_is_like_the_second(self):
        first = np.bincount(LABELS[order()[:52]], minlength=5)
        assert first[[0, 1, 2, 4]].min() >= 6

    def test_over_the_epochs_every_example_comes_as_often_as_its_classmates(self):
        times = np.sum([np.bincount(order(seed), minlength=103) for seed in range(40)], axis=0)
        for label, expected in ((0, 25.75 / 60), (1, 25.75 / 7), (2, 25.75 / 30), (4, 25.75 / 6)):
            mean = times[label == LABELS] / 40
            assert mean.mean() == pytest.approx(expected, rel=0.01)
            assert np.abs(mean - expected).max() < 0.35

    def test_depends_on_seed_phase_and_epoch(self):
        for other in ((0, 2, 3), (1, 0, 3), (1, 2, 0)):
            assert (host_order(*other, len(LABELS), LABELS) != order()).mean() > 0.8

    @pytest.mark.slow
    def test_host_and_device_agree_bit_for_bit(self):
        traced = jax.jit(lambda e, labels: epoch_order(1, 2, e, 103, labels, COUNTS))
        np.testing.assert_array_equal(traced(jnp.asarray(3), jnp.asarray(LABELS)), order())
        with jax.enable_x64(True):
            np.testing.assert_array_equal(order(), traced(jnp.asarray(3), jnp.asarray(LABELS)))

    def test_stays_the_same_for_ever(self):
        """Golden: if this changes, a run begun by an earlier release can't be continued."""
        labels = np.array([0, 0, 0, 0, 0, 1, 2, 0])
        assert host_order(0, 1, 2, 8, labels).tolist() == [6, 2, 3, 6, 5, 5, 1, 5]

    def test_is_what_training_batches_follow(self):
        data = tiny.canvases(20)
        split = tiny.split(data, "train")
        source = train_batches(
            tiny.images(split),
            split.labels,
            slots=Slots(5),
            canvas=18,
            stretch=Stretch(1, 2, 8),
            balanced=True,
        )
        expected = [host_order(1, 2, epoch, 20, split.labels) for epoch in (0, 1)]
        found = np.concatenate([batch.index for batch in source])
        np.testing.assert_array_equal(found, np.concatenate(expected))


class TestWeights:
    def test_by_hand(self):
        weights = Balance("weights", (6, 0, 2, 1)).class_weights
        np.testing.assert_allclose(weights, [0.5, 1, 1.5, 3])

    def test_as_scikit_learn(self):
        from sklearn.utils.class_weight import compute_class_weight

        expected = compute_class_weight("balanced", classes=np.unique(LABELS), y=LABELS)
        weights = Balance("weights", COUNTS).class_weights
        np.testing.assert_allclose(weights[[0, 1, 2, 4]], expected)
        assert weights[LABELS].mean() == pytest.approx(1)

    @pytest.mark.slow
    def test_multiply_loss_and_gradient(self):
        """In batches of one class: by its weight, both."""
        net, data = tiny.model(hidden=()), tiny.canvases()
        data = data._replace(label=np.full(20, 2, np.int32))
        start, head = tiny.weights(net), tiny.phase()
        plain = tiny.spec(net, head)
        weighted = tiny.spec(net, head, balance=Balance("weights", (6, 0, 2, 1)))
        (one, losses), (other, more) = (
            tiny.train(spec, start, data, lr=0.01) for spec in (plain, weighted)
        )
        np.testing.assert_allclose(more, 1.5 * losses, rtol=1e-6)
        moved, moved_more = (
            jax.tree.map(np.subtract, after.params["head"], start.params["head"])
            for after in (one, other)
        )
        for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(moved_more), strict=True):
            np.testing.assert_allclose(b, 1.5 * a, rtol=1e-3, atol=1e-6)


def _cached(spec: StepSpec, start: Weights, data: TrainBatch, devices: int):
    """An epoch of the head on features of the evaluation view."""
    mesh = sharding.data_mesh(devices)
    forward = make_forward(spec.model, spec.augmentation, 16, mesh)
    split = tiny.split(data, "train")
    source = eval_batches(tiny.images(split), split.labels, slots=Slots(8), canvas=18)
    features = inference.extract(forward, sharding.replicate(start, mesh), source, mesh)
    state, frozen = sharding.replicate(step.start(spec, start), mesh)
    rates, seed = sharding.replicate((np.full(2, 0.3, np.float32), np.int32(0)), mesh)
    held = sharding.replicate((features, data.label), mesh)
    state, losses = step.make_epoch(spec, mesh, 2)(state, frozen, *held, rates, seed)
    return sharding.fetch(train_state.finish(state, frozen)), np.asarray(losses)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sampling", "weights"])
def test_cached_features_on_one_device_train_as_images_on_eight(kind):
    net = tiny.model(hidden=())
    start, data = tiny.weights(net), tiny.canvases()
    data = data._replace(label=np.array([0] * 13 + [1] * 2 + [2] * 5, np.int32))
    images, cached = (
        tiny.spec(
            net,
            tiny.phase(inputs=inputs),
            preset="none",
            balance=Balance(kind, balance.counts_of(data.label)),
        )
        for inputs in ("augmented", "cached")
    )
    weights, losses = tiny.train(images, start, data, steps=2, lr=0.3, devices=8)
    other, other_losses = _cached(cached, start, data, 1)
    np.testing.assert_allclose(other_losses, losses, rtol=1e-4)
    heads = (jax.tree.leaves(after.params["head"]) for after in (weights, other))
    for a, b in zip(*heads, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4)


class TestWords:
    def test_skewed_is_twice_as_many(self):
        assert balance.is_skewed(LABELS)
        assert balance.is_skewed(np.array([3, 3, 1])) and not balance.is_skewed(np.array([3, 1]))

    def test_the_extremes_and_what_is_done(self):
        line = balance.in_words(LABELS, "abcde", "none")
        assert line.startswith("skewed classes: 6 training images of e, 60 of a; not corrected")
        assert "drawn equally often" in balance.in_words(LABELS, "abcde", "sampling")
        assert "weighted" in balance.in_words(LABELS, "abcde", "weights")


@pytest.mark.slow
def test_a_run_on_skewed_classes(tmp_path, tiny, cache_home):
    """Said at the start, in every row and table line; and the balance changes what is learned."""
    folder = drawn_images.draw_folder(tmp_path / "images")
    for file in sorted((folder / "red").iterdir())[5:]:
        file.unlink()
    finals = set()
    for kind in ("none", "sampling", "weights"):
        config = tiny_config.get_config(folder)
        config.data.balance = kind
        config.phases = config.phases[:1]
        config.phases[0].lr, config.phases[0].epochs = 0.1, 1
        out = io.StringIO()
        run.train(config, tmp_path / kind, Console(out))
        assert "skewed classes: 3 training images of red, 10 of blue" in unfolded(out.getvalue())
        (row,) = read_rows(tmp_path / kind / "metrics.jsonl")
        assert f"(balanced {row['balanced_accuracy']:.4f})" in unfolded(out.getvalue())
        finals.add(digests.digest(checkpoint.read_newest(tmp_path / kind).best))
    assert len(finals) == 3
