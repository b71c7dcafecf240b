"""Sizes as people write them."""

import pytest

from jaxft.runtime import sizes


@pytest.mark.parametrize(
    "size, told",
    [(0, "0 B"), (999, "999 B"), (1000, "1 KB"), (1_234_567, "1.23 MB"), (2.5e12, "2.5 TB")],
)
def test_in_words(size, told):
    assert sizes.in_words(size) == told


@pytest.mark.parametrize(
    "text, size",
    [("10GB", 10**10), ("1.5 mb", 1_500_000), ("0", 0), ("7", 7), ("3B", 3), (" 2TB ", 2 * 10**12)],
)
def test_parse(text, size):
    assert sizes.parse(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "10 GiB", "1e3", "ten", "1,5GB"])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match="is no size such as"):
        sizes.parse(text)
