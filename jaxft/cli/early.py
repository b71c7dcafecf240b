"""Mistakes that are told before JAX is imported, which takes seconds."""

import os
from argparse import Namespace

from jaxft.cli.outputs import demand_new_folder, usual_output
from jaxft.errors import UserError
from jaxft.runtime.noise import has_tpu

BEGINS = ("train", "lr_find", "probe", "sweep", "study")  # verbs that make a workdir
# Variables of the clusters that JAX detects.
CLUSTERS = (
    *("JAX_COORDINATOR_ADDRESS", "SLURM_JOB_ID", "OMPI_MCA_orte_hnp_uri", "PMIX_NAMESPACE"),
    *("KUBERNETES_SERVICE_HOST", "MEGASCALE_COORDINATOR_ADDRESS", "CLOUD_TPU_TASK_ID"),
)


def check(options: Namespace) -> None:
    """Look at the places that a command names, where this process is alone.

    One of several processes tells of them when it has joined the others, which would wait for it.

    Raises:
      UserError: no such data, a workdir among them, or none where a run should be.
    """
    if "distributed" in options and _among_others(options.distributed):
        return
    if options.verb in BEGINS:
        _of_begin(options)
    elif options.verb == "augment_preview" or getattr(options, "input", "") == "real":
        demand_source(options.config)
    elif getattr(options, "workdir", None) is not None:
        demand_run(options.workdir)
    if options.verb in ("evaluate", "export"):
        demand_new_folder("--output", options.output)
    elif options.verb == "embed":
        demand_new(options.output)
    elif options.verb == "predict" and options.output != "-":
        demand_new(options.output or usual_output(options.format))


def _among_others(mode: str) -> bool:
    """Tell whether there may be other processes, without asking JAX."""
    if mode == "off":
        return False
    return mode == "on" or any(map(os.environ.get, CLUSTERS)) or has_tpu()


def _of_begin(options: Namespace) -> None:
    from jaxft.data.sources import place
    from jaxft.runtime import paths

    paths.demand_workdir(options.workdir)
    if source := demand_source(options.config):
        place.demand_apart(options.workdir, source)


def demand_source(config: object) -> str:
    """Return a config's data source, "" where it has none, for others to report.

    Raises:
      UserError: it is of no kind that there is, or not there.
    """
    from jaxft.data.sources import place

    found = getattr(getattr(config, "data", None), "source", "")
    if not isinstance(found, str) or not found:
        return ""
    place.demand_there(found)
    return found


def demand_run(workdir: str) -> None:
    """Raise UserError where a workdir on this machine holds no run."""
    from jaxft.runtime import paths

    paths.demand_workdir(workdir)
    if not paths.is_remote(workdir) and not (paths.of(workdir) / "config.json").is_file():
        raise UserError(
            f"{workdir} holds no run", hint="Give --workdir=DIR, where `jaxft train` wrote one."
        )


def demand_new(output: str) -> None:
    """Raise UserError where a file that a verb is to make is there already."""
    from jaxft.runtime import paths

    if not paths.is_remote(output) and paths.of(output).exists():
        raise UserError(f"{output} already exists", hint="Give another --output.")
