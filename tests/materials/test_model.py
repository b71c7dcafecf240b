"""The weights that a run begins with, of another run."""

import jax
import numpy as np
import pytest
import untrained

from jaxft.config import load
from jaxft.configs import base
from jaxft.errors import UserError
from jaxft.materials.model import open_model
from jaxft.models.variables import Weights


def settings_from(workdir, source):
    config = base.get_config()
    config.data.source, config.model.name, config.init_from = source, "tiny", str(workdir)
    config.model.weights = "none"
    return load.read(config)


@pytest.mark.parametrize("sick", ["", "params", "batch_stats"])
def test_a_run_does_not_begin_with_anothers_weights_that_are_not_finite(
    tiny, drawn, tmp_path, monkeypatch, sick
):
    def written(net, weights, drops):
        given = jax.tree.map(np.array, weights._asdict())
        if sick:
            late = jax.tree.leaves(given[sick]["late"])[0]
            late.flat[1:3] = np.nan, np.inf
        return Weights(**given)

    monkeypatch.setattr(untrained, "settled", written)
    workdir = untrained.write(tmp_path / "run", f"folder:{drawn}", name="tiny")
    settings = settings_from(workdir, f"folder:{drawn}")
    if not sick:
        assert open_model(settings, untrained.CLASSES).origin["init_from"] == str(workdir)
        return
    with pytest.raises(UserError) as caught:
        open_model(settings, untrained.CLASSES)
    told = str(caught.value)
    assert f"The weights in {workdir} are not finite" in told
    assert f"- {sick}.late." in told and ": 2 of " in told
