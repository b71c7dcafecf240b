"""An extraction that is told to stop keeps every feature that it has computed."""

import io

import numpy as np
import pytest
import tiny

from jaxft.errors import Interrupted
from jaxft.materials import extraction
from jaxft.runtime.ballot import Stop
from jaxft.runtime.console import Console

pytestmark = pytest.mark.one_device


def counted(monkeypatch):
    """A list that gets an entry for each batch."""
    batches = []

    def ballot(_):
        def vote():
            batches.append(1)
            return False

        return vote

    monkeypatch.setattr(extraction, "Ballot", ballot)
    return batches


@pytest.mark.slow
@pytest.mark.parametrize("done", [0, 2])
def test_what_is_told_to_stop_repeats_no_batch(done, tmp_path, monkeypatch):
    stop, said = Stop(), io.StringIO()
    materials = tiny.materials(tmp_path / "cache")
    weights = tiny.weights(materials.model)
    whole = extraction.body_features(
        materials._replace(cache_dir=tmp_path / "other"), weights, "train"
    )
    calls = []

    def ballot(_):
        def vote():
            calls.append(1)
            if len(calls) == done + 1:
                stop.set()
            return stop.is_set()

        return vote

    monkeypatch.setattr(extraction, "Ballot", ballot)
    materials = materials._replace(stop=stop, console=Console(said))
    with pytest.raises(Interrupted):
        extraction.body_features(materials, weights, "train")
    assert (materials.cache_dir / "features").exists() == bool(done)
    batches = counted(monkeypatch)
    found = extraction.body_features(materials._replace(stop=Stop()), weights, "train")
    np.testing.assert_array_equal(found, whole)
    assert len(batches) == 5 - done
    assert ("features of train: 16 of 40 from the cache" in said.getvalue()) == bool(done)
