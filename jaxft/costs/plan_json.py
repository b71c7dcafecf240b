"""A plan as plain data, for `--json`."""

from dataclasses import asdict
from typing import Any

import jax

from jaxft.costs.costs import Costs
from jaxft.costs.model_time import ModelTime
from jaxft.costs.plan import Plan
from jaxft.costs.program import Program


def as_json(plan: Plan) -> dict[str, Any]:
    """Return all of a plan as plain data."""
    return {
        "target": plan.target.name,
        "devices": plan.target.mesh.size,
        "chips": plan.target.chips,
        "chip": None if plan.target.device is None else plan.target.device._asdict(),
        "pool": None if plan.pool is None else plan.pool._asdict(),
        "jax": jax.__version__,
        "model": plan.settings.model.name,
        "batch_size": plan.settings.data.batch_size,
        "sizes": plan.sizes._asdict(),
        "phases": [{**asdict(p), "program": p.program.name} for p in plan.phases],
        "programs": {p.name: _program_json(p) for p in plan.programs},
        "fit": {name: fit._asdict() for name, fit in plan.fit.items()},
    }


def _program_json(program: Program) -> dict[str, Any]:
    found = program.costs
    data = {"images_a_device": program.images, "compile_seconds": program.compile_seconds}
    if not isinstance(found, Costs):
        return {**data, "shortage": found._asdict()}
    return {
        **data,
        "flops": found.flops,
        "bytes": found.bytes,
        "memory": {**found.memory._asdict(), "total": found.memory.total},
        "collectives": {kind: c._asdict() for kind, c in found.collectives.items()},
        "roofline_seconds": found.roofline_seconds,
        "model": None if found.model is None else _model_json(found.model),
    }


def _model_json(model: ModelTime) -> dict[str, Any]:
    charges = {kind: charge._asdict() for kind, charge in model.charges.items()}
    return {"costed": model.costed, "charged": model.charged, "charges": charges}
