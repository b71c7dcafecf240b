"""Batches depend on (seed, phase, epoch, step) alone, wherever they are requested."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxft.data import Batch, Split, batches
from jaxft.data.batches import Readers, Stretch, eval_batches, train_batches
from jaxft.data.images.memory import Images, Memory
from jaxft.data.images.resize import crop
from jaxft.data.images.sizing import Sizing, canvas_size
from jaxft.data.images.unreadable import UnreadableImage
from jaxft.data.order import (
    ORDER_STREAM,
    crop_shares,
    epoch_key,
    epoch_order,
    host_order,
    position_keys,
    stream_key,
)
from jaxft.data.slots import Slots, layout

SIDE = 12
GOLDEN_ORDER = [2, 1, 4, 6, 0, 7, 3, 5]
GOLDEN_SHARES = [0.9687677439628356, 0.13196943503431402]


def wide(index: int, *how) -> np.ndarray:
    """Every pixel holds the example's number and its own column."""
    image = np.zeros((SIDE, SIDE + 20, 3), np.uint8)
    image[..., 0], image[..., 1] = index, np.arange(SIDE + 20)
    image = image if index % 2 else image.transpose(1, 0, 2)
    return crop(image, SIDE, how[1]) if len(how) > 1 else image


def without_3(index: int, *how) -> np.ndarray:
    if index == 3:
        raise UnreadableImage("image 3", "gone")
    return wide(index, *how)


def make_images(count: int, memory_bytes: int = 0, read=wide) -> Images:
    names = tuple(f"image {i}" for i in range(count))
    split = Split(names, np.arange(count, dtype=np.int32) % 3, names, read)
    return Images(split, Sizing(SIDE), Memory(memory_bytes))


def train(images: Images, steps: int = 10, **changes) -> list[Batch]:
    plain: dict[str, Any] = {"slots": Slots(8), "canvas": SIDE, "stretch": Stretch(1, 2, steps)}
    return list(train_batches(images, images.split.labels, **(plain | changes)))


def same(first: list[Batch], second: list[Batch]) -> bool:
    pairs = zip(first, second, strict=True)
    return all((a == b).all() for one, two in pairs for a, b in zip(one, two, strict=True))


class TestOrder:
    def test_canvas_size(self):
        sizes = {64: 71, 50: 55, 160: 176, 224: 247, 10: 11, 1: 2}
        assert {size: canvas_size(size) for size in sizes} == sizes

    def test_is_a_permutation_that_depends_on_all_three(self):
        first = host_order(1, 2, 3, 1000)
        assert first.dtype == np.int32 and sorted(first) == list(range(1000))
        for other in ((0, 2, 3), (1, 0, 3), (1, 2, 0)):
            assert (host_order(*other, 1000) != first).mean() > 0.9

    def test_host_and_device_agree_bit_for_bit(self):
        host = host_order(1, 2, 3, 1000)
        np.testing.assert_array_equal(epoch_order(1, 2, 3, 1000), host)
        traced = jax.jit(epoch_order, static_argnums=3)(1, 2, jnp.asarray(3), 1000)
        assert traced.dtype == jnp.int32
        np.testing.assert_array_equal(traced, host)
        with jax.enable_x64(True):
            np.testing.assert_array_equal(host_order(1, 2, 3, 1000), host)

    def test_the_users_default_generator_changes_nothing(self):
        host = host_order(1, 2, 3, 100)
        with jax.default_prng_impl("rbg"):
            np.testing.assert_array_equal(epoch_order(1, 2, 3, 100), host)

    def test_stays_the_same_for_ever(self):
        """Golden: if these change, a run begun by an earlier release can't be continued."""
        assert host_order(0, 1, 2, 8).tolist() == GOLDEN_ORDER
        assert crop_shares(0, 1, 2, 2).tolist() == pytest.approx(GOLDEN_SHARES, abs=1e-12)

    def test_allowed_where_transfers_are_not(self):
        with jax.transfer_guard("disallow"):
            host_order(1, 2, 3, 50)


class TestKeys:
    def test_belong_to_positions(self):
        key = epoch_key(1, 2, 3)
        whole = jax.random.key_data(position_keys(key, jnp.arange(16)))
        part = jax.random.key_data(jax.jit(position_keys)(key, jnp.arange(8, 16)))
        np.testing.assert_array_equal(whole[8:], part)
        assert len(np.unique(whole, axis=0)) == 16

    def test_differ_by_seed_phase_and_epoch(self):
        keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
        data = np.stack([jax.random.key_data(epoch_key(*key)) for key in keys])
        assert len(np.unique(data, axis=0)) == 4
        order_key = jax.random.key_data(stream_key(0, 0, 0, ORDER_STREAM))
        assert not (order_key == data).all(1).any()


class TestTrainBatches:
    def test_covers_epochs_and_drops_the_remainder(self):
        images = make_images(26)
        got = train(images, steps=6)
        assert len(got) == 6
        for epoch in range(2):
            indices = np.concatenate([batch.index for batch in got[3 * epoch : 3 * epoch + 3]])
            np.testing.assert_array_equal(indices, host_order(1, 2, epoch, 26)[:24])
        for batch in got:
            assert batch.image.shape == (8, SIDE, SIDE, 3) and batch.image.dtype == np.uint8
            assert batch.index.dtype == batch.label.dtype == np.int32
            assert batch.mask.dtype == bool and batch.mask.all()
            assert (batch.image[:, 0, 0, 0] == batch.index).all()
            assert (batch.label == batch.index % 3).all()

    def test_starts_anywhere(self):
        images = make_images(26)
        whole = train(images, steps=10)
        for start in (1, 3, 7):
            assert same(train(images, stretch=Stretch(1, 2, 10 - start, start)), whole[start:])

    def test_starting_late_reads_nothing_before(self):
        read = []

        def noting(index, *how):
            read.append(index)
            return wide(index, *how)

        train(make_images(26, read=noting), stretch=Stretch(1, 2, 1, 4))
        assert sorted(read) == sorted(host_order(1, 2, 1, 26)[8:16].tolist())

    def test_same_for_any_number_of_workers_memory_or_not(self):
        whole = train(make_images(26), readers=Readers(threads=1))
        assert same(train(make_images(26), readers=Readers(threads=4)), whole)
        assert same(train(make_images(26, memory_bytes=1 << 20)), whole)

    @pytest.mark.slow
    @pytest.mark.parametrize("workers", [1, 2])
    def test_same_from_worker_processes(self, workers):
        """With as many threads there, order and pixels are those of one thread here."""
        images = make_images(26)
        part = partial(
            train, images, slots=Slots(8, layout=layout(8, 4, 2)), stretch=Stretch(1, 2, 5, 2)
        )
        assert same(part(readers=Readers(workers=workers)), part(readers=Readers(threads=1)))

    @pytest.mark.slow
    def test_batches_stay_as_they_are(self):
        """A batch from another process is not overwritten while it is still held."""
        images = make_images(26)
        placed = train(
            images, readers=Readers(workers=1), steps=6, finish=partial(jax.tree.map, jnp.asarray)
        )
        assert same(placed, train(images, steps=6))

    def test_parts_do_not_show(self, monkeypatch):
        whole = train(make_images(26))
        for size in (1, 3, 8):
            monkeypatch.setattr(batches, "PART_EXAMPLES", size)
            assert same(train(make_images(26)), whole)

    @pytest.mark.slow
    def test_unreadable_images_are_named(self):
        for workers in (0, 1):
            with pytest.raises(UnreadableImage, match="image 3: gone"):
                train(make_images(26, read=without_3), readers=Readers(workers=workers))

    def test_other_errors_tell_the_file(self):
        def read(index, *_):
            raise RuntimeError("oh")

        with pytest.raises(RuntimeError) as caught:
            train(make_images(26, read=read))
        assert any(note.startswith("while reading image ") for note in caught.value.__notes__)

    @pytest.mark.parametrize("hosts", [2, 4])
    def test_hosts_share_the_global_batch(self, hosts):
        images = make_images(26)
        whole = train(images)
        parts = [train(images, slots=Slots(8, host, hosts)) for host in range(hosts)]
        joined = [
            Batch(*map(np.concatenate, zip(*batch, strict=True)))
            for batch in zip(*parts, strict=True)
        ]
        assert same(joined, whole)

    def test_crops_belong_to_positions(self):
        images = make_images(26)
        shares = crop_shares(1, 2, 0, 26)
        assert shares.min() >= 0 and shares.max() < 1 and len(set(shares)) == 26
        np.testing.assert_array_equal(crop_shares(1, 2, 0, 5), shares[:5])
        for step, batch in enumerate(train(images, steps=3)):
            for slot in range(8):
                odd = batch.index[slot] % 2
                line = batch.image[slot, 0, :, 1] if odd else batch.image[slot, :, 0, 1]
                first = round(20 * shares[8 * step + slot])
                assert line.tolist() == list(range(first, first + SIDE))

    def test_wrong_sizes(self):
        with pytest.raises(ValueError, match="batch of 8 is more than the 5"):
            train(make_images(5))
        with pytest.raises(ValueError, match="no multiple of the 3 hosts"):
            train(make_images(26), slots=Slots(8, host_count=3))
        with pytest.raises(ValueError, match="canvases 13"):
            train(make_images(26), canvas=13)
        with pytest.raises(ValueError, match="26 images and 2 labels"):
            images = make_images(26)
            train_batches(
                images, np.zeros(2), slots=Slots(8), canvas=SIDE, stretch=Stretch(0, 0, 1)
            )


class TestEvalBatches:
    @pytest.mark.parametrize(("count", "batch_size"), [(26, 8), (24, 8), (3, 8), (1, 1)])
    @pytest.mark.parametrize("hosts", [1, 2])
    def test_every_example_once(self, count, batch_size, hosts):
        if batch_size % hosts:
            return
        images = make_images(count)
        parts = [
            list(
                eval_batches(
                    images,
                    images.split.labels,
                    slots=Slots(batch_size, host, hosts),
                    canvas=SIDE,
                )
            )
            for host in range(hosts)
        ]
        assert len({len(part) for part in parts}) == 1
        assert len(parts[0]) == -(-count // batch_size)
        seen = [i for part in parts for batch in part for i in batch.index[batch.mask]]
        assert sorted(seen) == list(range(count))
        for part in parts:
            for batch in part:
                assert len(batch.mask) == batch_size // hosts
                assert (batch.image[batch.mask][:, 0, 0, 0] == batch.index[batch.mask]).all()
                assert not batch.image[~batch.mask].any() and not batch.label[~batch.mask].any()
                assert not batch.index[~batch.mask].any()

    def test_centred(self):
        images = make_images(2)
        (batch,) = eval_batches(images, images.split.labels, slots=Slots(2), canvas=SIDE)
        assert batch.image[1, 0, :, 1].tolist() == list(range(10, 10 + SIDE))
