"""The range test of one phase, without training it."""

from contextlib import ExitStack
from typing import Any

from jaxft.config.phase import index_of
from jaxft.devices import sharding
from jaxft.materials import seed, shortage
from jaxft.materials.identity import describe
from jaxft.materials.opening import prepare
from jaxft.materials.start_up import start_up
from jaxft.report.curve import curve_json
from jaxft.runtime import hosts, paths
from jaxft.runtime.console import Console
from jaxft.runtime.paths import AnyPath
from jaxft.runtime.timer import timing
from jaxft.training import fit, range_test, rebase, runners
from jaxft.training.phase_spec import make_spec
from jaxft.workdir import checkpoint, same_config
from jaxft.workdir.cursor import Cursor
from jaxft.workdir.snapshot import unpack


def find_rate(
    config: Any, workdir: str | AnyPath, phase: str, console: Console | None = None
) -> dict[str, Any]:
    """Run the range test of one phase, from a run's newest weights or the initial ones.

    Args:
      config: as for `train`.
      workdir: gets `lr_find/PHASE.json` and `.png`; the weights come from a run of the same config
        in it, if there is one.
      phase: name of the phase, "" = the first with lr="find".

    Raises:
      UserError: no such phase, and what `train` raises.
    """
    console = console or Console(None)
    paths.demand_workdir(workdir)
    settings, config = start_up(config, workdir)
    workdir = paths.of(workdir)
    index = index_of(settings.phases, phase)
    hosts.together(lambda: same_config.check(workdir, config))
    with shortage.told(settings, "before the first step"):
        materials, current = prepare(settings, console, phase=index)
        materials = seed.mixed(materials, workdir)
    begun = False
    if checkpoint.steps(workdir):
        newest = checkpoint.read_newest(workdir)
        current, cursor = unpack(newest).weights, Cursor.of(newest.cursor)
        begun = cursor.phase_index == index and cursor.phase.step > 0
    paths.make_folder(workdir)
    with ExitStack() as held:
        held.enter_context(timing(console)).phase = settings.phases[index].name
        lock = checkpoint.lock(workdir, console.say)
        hosts.together(lambda: held.enter_context(lock))
        describe(workdir, config, materials)
        current = sharding.replicate(current, materials.mesh)
        spec = make_spec(materials, index)
        with shortage.told(materials.settings, f"in phase {spec.phase.name}", spec.phase):
            distance = None
            if not begun:
                current, distance = rebase.rebase(spec, materials, current)
            runner = fit.make_runner(spec, materials, current)
            with runners.closing(runner):
                curve = range_test.find_rate(spec, materials, runner, current, workdir, distance)
    console.tell(f"{settings.phases[index].name}: learning rate {curve.lr:.2e} ({curve.rule})")
    return curve_json(curve)
