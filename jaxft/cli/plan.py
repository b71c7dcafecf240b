"""`jaxft plan`."""

import os
import sys
from argparse import ArgumentParser, Namespace

from jaxft.cli import flags
from jaxft.cli.outputs import demand_picture, demand_places

HELP = "show what a run would do and cost, without running it"


def add(parser: ArgumentParser) -> None:
    """Add the verb's flags."""
    flags.add_config(parser)
    parser.add_argument(
        "--topology",
        default="",
        metavar="NAME",
        help="compile for a TPU slice or GPUs that are not there, such as v5e:2x4, h100, h100:8 "
        "(default: what is there)",
    )
    flags.add_sizes(parser)
    flags.add_json(parser)
    parser.add_argument("--plot", default="", metavar="FILE", help="draw the learning rates (.png)")


def run(options: Namespace) -> int:
    """Print the plan; return the exit code."""
    if options.topology:  # before JAX is imported
        os.environ.setdefault("JAX_PLATFORMS", "cpu")  # a device that is there is not needed
        # What is compiled for a device that is not there can't be read back from the cache.
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    from jaxft.config import load
    from jaxft.costs import plan_json, plan_plot, plan_text, planning
    from jaxft.costs.assumptions import sizes_of
    from jaxft.devices import topology
    from jaxft.runtime import paths
    from jaxft.runtime.console import Console
    from jaxft.runtime.set_up import set_up
    from jaxft.workdir.rows import write_json

    settings = load.read(options.config)
    if options.plot:
        demand_picture("--plot", options.plot, (".png", ".jpg", ".jpeg", ".pdf", ".svg"))
    demand_places(options.json, options.plot)
    target = topology.slice_of(options.topology) if options.topology else topology.here()
    sizes = sizes_of(settings, options.examples, options.classes)
    set_up(settings.cache_dir)
    console = Console(sys.stdout)
    found = planning.make(settings, sizes, target, console)
    console.say("\n" + plan_text.text(found))
    if options.json:
        write_json(paths.of(options.json), plan_json.as_json(found))
    if options.plot:
        plan_plot.plot(found, paths.of(options.plot))
    return 0
