"""The weights of a cycle end come back as they were written, or with a word on what is wrong."""

import numpy as np
import pytest

from jaxft.models.variables import Weights
from jaxft.runtime import digests
from jaxft.workdir import kept_weights
from jaxft.workdir.kept_weights import End

END = End("full", 6)


def weights(seed=0):
    random = np.random.default_rng(seed)
    kernel = random.normal(size=(16, 8)).astype(np.float32)
    return Weights({"late": {"conv1": {"kernel": kernel}}}, {"late": {"bn": np.arange(8.0)}})


@pytest.fixture
def path(tmp_path):
    found = kept_weights.place(tmp_path, END.name)
    kept_weights.write(found, END, weights())
    return found


def test_they_come_back_bit_by_bit(path):
    found = kept_weights.read(path, END, weights(1))
    assert digests.digest(found) == digests.digest(weights())
    assert found.params["late"]["conv1"]["kernel"].dtype == np.float32


def test_the_same_weights_give_the_same_bytes(path):
    before = path.read_bytes()
    kept_weights.write(path, END, weights())
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["full-6.npz"]


@pytest.mark.parametrize("place", [0.0, 0.2, 0.4, 0.6, 0.8, 0.99])
def test_a_byte_that_changed_is_noticed(path, place):
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 0xFF
    path.write_bytes(content)
    try:
        found = kept_weights.read(path, END, weights())
    except ValueError as error:
        assert "full-6.npz is damaged" in str(error) and "\n" not in str(error)
    else:  # a byte that means nothing, such as a date
        assert digests.digest(found) == digests.digest(weights())


def test_weights_that_were_changed_and_written_whole_are_noticed(path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(kept_weights, "digest", lambda _: digests.digest({}))
        kept_weights.write(path, END, weights())
    with pytest.raises(ValueError, match="its digest does not match"):
        kept_weights.read(path, END, weights())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive"])
def test_what_is_no_archive_is_damaged(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        kept_weights.read(path, END, weights())


def test_a_file_that_is_cut_off_is_damaged(path):
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match="is damaged"):
        kept_weights.read(path, END, weights())


def test_missing_files_and_those_of_another_end_or_network_are_told_apart(path):
    with pytest.raises(ValueError, match="is of full, epoch 6"):
        kept_weights.read(path, End("full", 2), weights())
    other = Weights({"late": {"conv2": {"kernel": np.zeros(3)}}}, {})
    with pytest.raises(ValueError, match=r"another network.*params.late.conv2.kernel is missing"):
        kept_weights.read(path, END, other)
    kept_weights.remove(path)
    kept_weights.remove(path)
    with pytest.raises(ValueError, match="is missing"):
        kept_weights.read(path, END, weights())
