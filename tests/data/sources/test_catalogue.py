"""The catalogue of a prepared data set: what is damaged is told, and never believed."""

import json

import numpy as np
import pytest

from jaxft.data.sources import catalogue
from jaxft.data.sources.catalogue import Catalogue, Listing
from jaxft.errors import UserError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "shard").write_bytes(b"1234")
    listing = Listing(("a.png", "\udcff.png"), np.asarray([0, 1], np.int32))
    content = Catalogue(("cat", "dög"), "ab12", {"shard": 4}, {"train": listing})
    catalogue.write(tmp_path, content)
    return tmp_path


def test_what_was_written_is_read(folder):
    found = catalogue.read(folder)
    assert found is not None and found.classes == ("cat", "dög")
    assert found.splits["train"].files == ("a.png", "\udcff.png")
    assert found.splits["train"].labels.tolist() == [0, 1]


def test_every_flipped_bit_is_told_or_without_effect(folder):
    file, told = folder / catalogue.NAME, 0
    whole = file.read_bytes()
    for bit in range(8 * len(whole)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        file.write_bytes(content)
        try:
            found = catalogue.read(folder)
        except UserError as error:
            assert "jaxft.json is damaged" in str(error)
            told += 1
        else:  # \u00f6 in capitals
            assert found is not None and found.classes == ("cat", "dög"), bit
            assert found.splits["train"].labels.tolist() == [0, 1], bit
    assert told > 7 * len(whole)


def test_a_catalogue_of_other_files_counts_as_none(folder, tmp_path):
    (folder / "shard").write_bytes(b"12345")
    assert catalogue.read(folder) is None
    (folder / catalogue.NAME).unlink()
    assert catalogue.read(folder) is None


def test_one_of_an_earlier_version_has_no_digest(folder):
    file = folder / catalogue.NAME
    plain = json.loads(file.read_text())
    del plain["sha256"]
    file.write_text(json.dumps(plain))
    found = catalogue.read(folder)
    assert found is not None and found.classes == ("cat", "dög")
