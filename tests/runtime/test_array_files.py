"""Arrays in files: a damaged one counts as missing."""

import numpy as np

from jaxft.runtime import array_files


def test_what_was_stored_is_loaded(tmp_path):
    file, array = tmp_path / "deep" / "a.npy", np.arange(6, dtype=np.int32).reshape(2, 3)
    array_files.store(file, array)
    found = array_files.load(file)
    assert found is not None
    assert found.dtype == array.dtype and found.tolist() == array.tolist()
    assert np.load(file).tolist() == array.tolist()  # by plain NumPy


def test_no_flipped_bit_is_believed(tmp_path):
    file = tmp_path / "a.npy"
    array_files.store(file, np.arange(4, dtype=np.int32))
    whole = file.read_bytes()
    for bit in range(8 * len(whole)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        file.write_bytes(content)
        found = array_files.load(file)
        assert found is None or found.tolist() == [0, 1, 2, 3], bit


def test_a_file_under_another_name_counts_as_missing(tmp_path):
    array_files.store(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "a.npy").rename(tmp_path / "b.npy")
    assert array_files.load(tmp_path / "b.npy") is None
    assert array_files.load(tmp_path / "a.npy") is None
