"""A run whose cache is pruned under it ends as it would have."""

import json

import pytest
import tiny_config

from jaxft import run
from jaxft.materials import stored
from jaxft.workdir import checkpoint
from jaxft.workdir import rows as rows_of

KEYS = ("phase", "epoch", "trn_loss", "val_loss", "accuracy", "lr")


def rows(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [{key: json.loads(line)[key] for key in KEYS} for line in lines]


@pytest.mark.slow
def test_a_cache_may_be_pruned_under_a_run(tmp_path, drawn, finished, tiny, monkeypatch):
    config = tiny_config.get_config(drawn)
    config.cache_dir, config.data.cache_memory_gb = str(tmp_path / "cache"), 0.0
    pruned: list[str] = []

    def pruning(*row):
        chosen = stored.doomed(stored.entries(tmp_path / "cache"), max_size=0)
        stored.remove(chosen)
        pruned.extend(entry.part for entry in chosen)
        rows_of.append_row(*row)

    monkeypatch.setattr("jaxft.training.loop.append_row", pruning)
    run.train(config, tmp_path / "run")
    assert "features" in pruned
    assert rows(tmp_path / "run") == rows(finished)
    found, wanted = (checkpoint.read_newest(place).cursor for place in (tmp_path / "run", finished))
    assert found["best"] == wanted["best"]
