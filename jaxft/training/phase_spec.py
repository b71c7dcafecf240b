"""The specification of a phase's train step, on the images that a run has."""

import dataclasses

from jaxft.data import balance
from jaxft.data.balance import Balance
from jaxft.materials.materials import Materials
from jaxft.training.spec import StepSpec, spec_of


def make_spec(materials: Materials, index: int) -> StepSpec:
    """Return the specification of phase `index`'s train step."""
    dataset = materials.dataset
    counts = balance.counts_of(dataset.train.labels, len(dataset.classes))
    spec = spec_of(materials.settings, materials.model, index, len(dataset.train))
    return dataclasses.replace(spec, balance=Balance(materials.settings.data.balance, counts))
