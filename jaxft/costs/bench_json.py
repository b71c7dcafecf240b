"""Figures of a bench as plain data, for `--json`."""

from typing import Any

import jax

from jaxft.costs.figures import Figures
from jaxft.costs.job import Job
from jaxft.devices import provenance
from jaxft.runtime import hosts


def about(job: Job, config: str) -> dict[str, Any]:
    """Return the conditions of figures as JSON data: versions, devices, config."""
    return {
        "config": config,
        "input": "synthetic" if job.materials is None else "real",
        "model": job.settings.model.name,
        "dtype": job.settings.model.compute_dtype,
        "batch_size": job.settings.data.batch_size,
        "examples": job.sizes.train,
        "classes": job.sizes.classes,
        "device": job.target.platform.chip,
        "device_kind": jax.local_devices()[0].device_kind,
        "platform": job.target.platform.name,
        "devices": job.mesh.size,
        "processes": hosts.count(),
        **provenance.versions(),
        "environment": provenance.environment(),
        "compilation_cache": bool(jax.config.values["jax_enable_compilation_cache"]),
        "revision": provenance.revision(),
    }


def as_json(job: Job, figures: Figures, config: str) -> dict[str, Any]:
    """Return one program's figures and their conditions (`about`) as one level of JSON data."""
    low, middle, high = figures.step_seconds
    spent = figures.costs
    return {
        "program": figures.program,
        "phases": figures.phases,
        "repeats": len(figures.seconds),
        "steps_in_a_repeat": figures.steps,
        "step_seconds": {"median": middle, "quartile1": low, "quartile3": high},
        "images_per_second": figures.images_per_second,
        "images_per_second_per_device": figures.images_per_second / figures.devices,
        "input_wait": figures.input_wait,
        "compile_seconds": figures.compile_seconds,
        "memory": {**spent.memory._asdict(), "total": spent.memory.total},
        "peak_bytes_in_use": figures.peak_bytes,
        "pool_bytes": figures.pool_bytes,
        "flops": spent.flops,
        "model_flops": figures.model_flops,
        "bytes": spent.bytes,
        "bytes_per_second": figures.bytes_per_second,
        "mfu": figures.mfu,
        "roofline_share": figures.roofline_share,
        "mfu_missing": without_peaks(job),
        "image_size": figures.image_size,
        **about(job, config),
    }


def without_peaks(job: Job) -> str | None:
    """Return the reason for no MFU and no share of the roofline; None where there is one."""
    if job.target.device is not None:
        return None
    return f"the peaks of a {job.target.platform.chip} device are not known"
