"""A probe from start to result: a linear head on the features of each body."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from jaxft.config import card
from jaxft.config.plain import as_dict
from jaxft.config.settings import Settings
from jaxft.data import Dataset
from jaxft.data.sources.place import demand_apart
from jaxft.devices import sharding
from jaxft.errors import UserError
from jaxft.materials import shortage
from jaxft.materials.data import open_data
from jaxft.materials.identity import describe_data
from jaxft.materials.materials import Materials
from jaxft.materials.model import open_model
from jaxft.materials.opening import check_batch_size
from jaxft.report import probe as report
from jaxft.runtime import paths
from jaxft.runtime.ballot import Stop
from jaxft.runtime.console import Console
from jaxft.runtime.paths import AnyPath
from jaxft.runtime.set_up import set_up
from jaxft.runtime.signals import told_to_stop
from jaxft.training.probe import bodies as named
from jaxft.training.probe import folder as files
from jaxft.training.probe.bodies import Body
from jaxft.training.probe.folder import Measured
from jaxft.training.probe.measures import Operations, measured
from jaxft.training.probe.opened import how, materials_of, resolved_settings
from jaxft.training.probe.ranking import ranked
from jaxft.workdir import checkpoint
from jaxft.workdir import request as requests

KIND = "probe"


class Request(NamedTuple):
    """Everything that a probe is of; `config` is the card's, as plain data."""

    config: dict[str, Any]
    bodies: list[Body]
    settings: list[Settings]

    def as_json(self) -> dict[str, Any]:
        """Return what tells one probe from another."""
        dtype = self.settings[0].model.compute_dtype  # by the platform
        names = [body.name for body in self.bodies]
        return {"config": self.config, "bodies": names, "dtype": dtype}


def probe(
    config: Any,
    bodies: Sequence[str],
    workdir: str | AnyPath,
    console: Console | None = None,
    operations: Operations | None = None,
) -> dict[str, Any]:
    """Rank bodies by a linear head on their features of a config's images.

    Args:
      config: a ConfigDict with the keys of configs/base.py.
      bodies: MODEL or MODEL:WEIGHTS each; none stands for the config's own, and all whose usual
        weights are on this machine.
      workdir: created if missing; a probe of the same settings in it is gone on with, or told.
      console: gets the progress; None is silent.
      operations: counts the floating-point operations of a traced function; None leaves them out.

    Returns:
      What `probe.json` holds.

    Raises:
      UserError: bad config, bodies, data or workdir, and nothing has been written; or no body
        could be measured.
      Interrupted: SIGINT or SIGTERM arrived; the measures of finished bodies are kept.
    """
    console = console or Console(None)
    paths.demand_workdir(workdir)
    request, place = requested(config, bodies, workdir), paths.of(workdir)
    requests.check(place, request.as_json(), KIND)
    found = files.result(place)
    if found is not None and not found["failed"]:
        console.say(f"{place} already holds this probe, finished\n{report.text(found, place)}")
        return found
    first = request.settings[0]
    set_up(first.cache_dir)
    with ExitStack() as held:
        stop = held.enter_context(told_to_stop())
        dataset = open_data(first)
        check_batch_size(first, len(dataset.train), sharding.data_mesh().size)
        paths.make_folder(place)
        held.enter_context(checkpoint.lock(place, console.say))
        about = {**request.as_json(), "data": describe_data(dataset)}
        requests.check(place, about, KIND)
        requests.begin(place, about)
        done, failed = _every_body(request, dataset, place, console, stop, operations)
        result = _result(done, failed, first.best_by)
        cards = {body: _card(request, body) for body in request.bodies}
        best = cards[Body(result["bodies"][0]["model"], result["bodies"][0]["weights"])]
        report.plot(result, place / files.PLOT)
        files.finish(place, best, cards.values(), result)
    console.say(report.text(result, place))
    return result


def requested(config: Any, bodies: Sequence[str], workdir: str | AnyPath) -> Request:
    """Read the config with each of the bodies.

    Raises:
      UserError: lists all mistakes in them; or a bucket cannot be reached.
    """
    plain = as_dict(config)
    chosen = named.parsed(bodies) or named.usual(plain)
    settings = named.settings_of(plain, chosen)
    first = settings[0]
    demand_apart(workdir, first.data.source)
    paths.demand(first.cache_dir, first.data.source.partition(":")[2], workdir=workdir)
    return Request(plain, chosen, settings)


def _every_body(
    request: Request,
    dataset: Dataset,
    place: AnyPath,
    console: Console,
    stop: Stop,
    operations: Operations | None,
) -> tuple[dict[Body, Measured], dict[str, str]]:
    """Measure the bodies that are not done; -> the measures of all, and why others have none."""
    kept = {b: files.stored(place, number) for number, b in enumerate(request.bodies)}
    done = {body: found for body, found in kept.items() if found is not None}
    if done:
        console.say(f"{len(done)} of {len(request.bodies)} bodies are done already")
    todo, failed = _resolved(request, [body for body in request.bodies if body not in done])
    materials: Materials | None = None
    for body, settings in todo.items():
        console.say(f"\n{body.name}")
        try:
            with shortage.told(settings, f"opening {body.name}", hint=""):
                opened = open_model(settings, dataset.classes)
        except UserError as error:
            failed[body.name] = _told(error, console)
            continue
        materials = materials_of(settings, opened, dataset, materials, console, stop)
        try:
            with shortage.told(settings, f"with {body.name}", hint=""):
                done[body] = measured(materials, opened.weights, operations)
        except UserError as error:
            failed[body.name] = _told(error, console)
            continue
        files.store(place, request.bodies.index(body), done[body])
        right = done[body].right
        console.say(f"{body.name}: accuracy {right.mean():.4f} of {len(right)} images")
    return {body: done[body] for body in request.bodies if body in done}, failed


def _resolved(
    request: Request, todo: Sequence[Body]
) -> tuple[dict[Body, Settings], dict[str, str]]:
    """Ask the weights what they expect; those that share their images come after one another."""
    found: dict[Body, Settings] = {}
    failed: dict[str, str] = {}
    for body in todo:
        try:
            found[body] = resolved_settings(body.set_in(request.config))
        except UserError as error:
            failed[body.name] = str(error)
    hows = [how(settings) for settings in found.values()]
    order = sorted(found, key=lambda body: hows.index(how(found[body])))
    return {body: found[body] for body in order}, failed


def _told(error: UserError, console: Console) -> str:
    console.say(f"failed: {error}")
    return str(error)


def _result(done: dict[Body, Measured], failed: dict[str, str], best_by: str) -> dict[str, Any]:
    """Return the result as JSON data.

    Raises:
      UserError: there is no body in it, or the images have changed meanwhile.
    """
    if not done:
        raise UserError("No body could be measured:", [f"{b}: {why}" for b, why in failed.items()])
    counts = {body.name: len(found.right) for body, found in done.items()}
    if len(set(counts.values())) > 1:
        lines = [f"{name}: {count} images" for name, count in counts.items()]
        hint = "Some could not be read each time. Choose another --workdir."
        raise UserError("The bodies were measured on other validation images:", lines, hint)
    rows = ranked(done, best_by)
    return {
        "best_by": best_by,
        "validation_examples": next(iter(counts.values())),
        "bodies": rows,
        "failed": failed,
    }


def _card(request: Request, body: Body) -> str:
    told = f"The config of a probe, with {body.model} and its weights {body.weights}."
    return card.source(body.set_in(request.config), told)
