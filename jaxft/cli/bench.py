"""`jaxft bench`."""

import sys
from argparse import ArgumentParser, Namespace

from jaxft.cli import flags
from jaxft.cli.outputs import demand_places
from jaxft.errors import UserError

HELP = "time a config's steps on this machine's devices"


def add(parser: ArgumentParser) -> None:
    """Add the verb's flags."""
    flags.add_config(parser)
    parser.add_argument(
        "--input",
        default="synthetic",
        choices=("synthetic", "real"),
        help="images and weights: synthetic (default: none are needed), or the run's own",
    )
    parser.add_argument(
        "--repeats",
        type=flags.positive,
        default=20,
        metavar="N",
        help="timings per program (default: 20)",
    )
    flags.add_sizes(parser)
    parser.add_argument(
        "--keep-cache",
        "--keep_cache",
        action="store_true",
        help="keep compiled programs, and take them from the cache if they are there; the column "
        "compile then says little (default: compile each one)",
    )
    flags.add_json(parser)
    flags.add_distributed(parser)


def run(options: Namespace) -> int:
    """Time the programs and print their figures; return the exit code."""
    import jax

    from jaxft.config import load
    from jaxft.costs import bench, bench_json, bench_text
    from jaxft.costs.assumptions import sizes_of
    from jaxft.devices import topology
    from jaxft.materials.start_up import start_up
    from jaxft.runtime import hosts, paths
    from jaxft.runtime.console import Console
    from jaxft.runtime.set_up import set_up
    from jaxft.workdir.rows import write_rows

    if options.input == "real" and (options.examples or options.classes):
        raise UserError("--examples and --classes are for --input=synthetic.")
    demand_places(options.json)
    console = Console(sys.stdout)
    if options.input == "real":
        settings, _ = start_up(options.config)
    else:
        settings = load.read(options.config)
        set_up(settings.cache_dir)
    if not options.keep_cache:  # the time of compilation is a figure, too
        jax.config.update("jax_enable_compilation_cache", False)
    target = topology.here()
    if options.input == "real":
        job = bench.real(settings, target, options.repeats, console)
    else:
        sizes = hosts.together(lambda: sizes_of(settings, options.examples, options.classes))
        job = bench.synthetic(settings, sizes, target, options.repeats, console)
    rows = list(bench.make(job))
    console.say(f"\n{bench_text.explanation(job)}\nTo paste into an issue:\n")
    console.say(bench_text.block(job, rows, options.config_words))
    if options.json:
        lines = [bench_json.as_json(job, row, options.config_words) for row in rows]
        write_rows(paths.of(options.json), lines)
    return 0
