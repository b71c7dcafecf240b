"""docs/gpu.md's table of memory: figures of `jaxft plan` beside the pools of cards."""

import re
from dataclasses import replace

import pytest
from places import ROOT

from jaxft.cli.config_file import load_config
from jaxft.config import load
from jaxft.costs import costs, programs
from jaxft.costs.compilation import compile_job, step_job
from jaxft.devices import platform, pool, topology
from jaxft.devices.cards import CARDS
from jaxft.materials.model import create_model
from jaxft.training.spec import spec_of

GIB = 2**30
PAGE = ROOT / "docs" / "gpu.md"
SOLD_AS = {"40": "a100", "80": "h100", "141": "h200"}  # GB


def rows():
    """For every batch size in the table: GiB of each program, and the cards that hold them all."""
    row = r"^\| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| (.+) \|$"
    found = re.findall(row, PAGE.read_text(), re.M)
    return {int(batch): ([float(g) for g in gib], cards) for batch, *gib, cards in found}


@pytest.mark.parametrize("batch", [64, 128, 256, 512])
def test_the_cards_are_those_whose_pool_holds_every_phase(batch):
    gib, cards = rows()[batch]

    def holds(card, share):
        return max(gib) * GIB <= pool.of_absent(CARDS[card].memory, share).bytes

    expected = [
        f"{sold}{'' if holds(card, pool.USUAL_FRACTION) else '*'}"
        for sold, card in SOLD_AS.items()
        if holds(card, pool.HIGHEST_FRACTION)
    ]
    assert cards == ", ".join(expected)


@pytest.mark.slow
def test_the_last_phase_takes_what_the_table_says():
    """The largest program of the card; within what another version of XLA may change."""
    target = topology.slice_of("h100")
    card = load.read(load_config("furniture_resnext101"))
    settings = replace(card, data=replace(card.data, batch_size=64))
    with platform.targeting(*target.platform):
        model = create_model(settings, 128)
        spec = spec_of(settings, model, 2, card.plan.examples)
        job = step_job(spec, settings, programs.weight_shapes(model), target)
        program = compile_job(job, job.lower(), settings, target)
    assert isinstance(program.costs, costs.Costs)
    assert program.costs.memory.total / GIB == pytest.approx(rows()[64][0][2], rel=0.05)
    assert program.costs.roofline_seconds  # though XLA counts no operations for it
