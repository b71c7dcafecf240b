"""The story of a run: data, model, then phase by phase, each resumable, to a summary."""

import hashlib
import json
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxft import models
from jaxft.augment import augment
from jaxft.config import load
from jaxft.config.load import Settings
from jaxft.data import Dataset, balance, overlap
from jaxft.data.images import memory
from jaxft.data.sources import registry
from jaxft.devices import sharding
from jaxft.errors import Interrupted, NonFiniteError, UserError
from jaxft.evaluation import metrics
from jaxft.features.cache import default_directory
from jaxft.materials import reading, shortage
from jaxft.materials.reading import NEVER, Materials
from jaxft.models import Model
from jaxft.models.body import Preprocessing
from jaxft.models.weights import pretrained
from jaxft.models.weights.preprocessing import RUN_FILE
from jaxft.report import bottleneck, tables
from jaxft.report.tables import Console
from jaxft.runtime import allocator, hosts, paths
from jaxft.runtime.hosts import Stop
from jaxft.runtime.paths import AnyPath
from jaxft.training import best, fit, range_test, rebase
from jaxft.training.best import Best
from jaxft.training.step import Weights
from jaxft.workdir import checkpoint, same_config
from jaxft.workdir.checkpoint import Checkpoint, Checkpoints

# Of the images that a run was trained on; fewer have the same name and class by chance.
SHARE_WORTH_TELLING = 0.05


def train(config: Any, workdir: str | AnyPath, console: Console | None = None) -> dict[str, Any]:
    """Run a config's recipe in a workdir, or go on with it; returns the summary.

    Args:
      config: a ConfigDict as configs/base.py makes it.
      workdir: made if need be; a run of the same config in it is gone on with.
      console: where to tell what happens; None says nothing.

    Raises:
      UserError: bad config, data, weights or workdir; nothing has been written then.
      NonFiniteError: training diverged; checkpoints up to the epoch before are whole.
      Interrupted: told to stop by SIGINT or SIGTERM; a checkpoint has been written.
    """
    console = console or Console(None)
    paths.demand_workdir(workdir)
    settings, config = start_up(config, workdir)
    workdir = paths.of(workdir)
    hosts.together(lambda: same_config.check(workdir, config))
    finished = hosts.gather(_finished(workdir))[0]
    if finished is not None:
        console.say(f"{workdir} holds this run already, finished")
        console.say(tables.summary_text(finished, workdir))
        return finished
    timer, started = fit.Timer(), time.perf_counter()
    with ExitStack() as held:
        stop = held.enter_context(_told_to_stop())
        lock = checkpoint.lock(workdir, console.say)
        was_there = workdir.exists()  # else nothing is made before all has been checked
        if was_there:
            still_held = hosts.together(lambda: held.enter_context(lock))
        reached = hosts.gather(_phase_reached(workdir, settings))[0]
        with shortage.told(settings, "before the first step"):
            materials, initial = prepare(settings, console, stop, reached)
        paths.make_folder(workdir)
        if not was_there:
            still_held = hosts.together(lambda: held.enter_context(lock))
            same_config.check(workdir, config)
        describe(workdir, config, materials)
        checkpoints = Checkpoints(workdir, still_held)
        console.say(tables.phases_table(settings, materials.steps_per_epoch))
        console.say(augment.in_words(settings.augment))
        setup_seconds = time.perf_counter() - started
        return run_phases(materials, initial, checkpoints, workdir, timer, setup_seconds)


def run_phases(
    materials: Materials,
    initial: Weights,
    checkpoints: Checkpoints,
    workdir: AnyPath,
    timer: fit.Timer,
    setup_seconds: float,
) -> dict[str, Any]:
    """All phases that are left, from the newest whole checkpoint on; ends with the summary."""
    console, phases = materials.console, materials.settings.phases
    restored, problems = checkpoints.newest()
    if problems and restored is None:
        raise UserError(
            f"No checkpoint in {workdir} can be read:",
            problems,
            "Nothing was changed; choose another --workdir to begin anew.",
        )
    for problem in problems:
        console.say(f"warning: {problem}; going on from the one before")
    cursor, progress = _begin(materials, initial, restored)
    cursor.setup_seconds += setup_seconds
    checkpoints.remove_after(cursor.saves)
    tables.rewind_rows(workdir / "metrics.jsonl", cursor.rows)
    if restored is not None:
        console.say(f"going on after {cursor.global_step} steps")
    starts = _starts_before(workdir, cursor.global_step)
    start = {"time": time.time(), "from_step": cursor.global_step, "to_step": None}
    tables.write_rows(workdir / "starts.jsonl", [*starts, {**start, "ended_by": "interrupted"}])
    ended_by = "failed"
    try:
        while cursor.phase < len(phases):
            started = time.perf_counter()
            materials = reading.at_size(materials, phases[cursor.phase].image_size)
            cursor.setup_seconds += time.perf_counter() - started
            middle = restored if cursor.lr is not None else None
            phase = phases[cursor.phase]
            goes_on = _after_shortage(cursor, workdir)
            with shortage.told(materials.settings, f"in phase {phase.name}", phase, hint=goes_on):
                progress = fit.run_phase(
                    materials, cursor, progress, middle, checkpoints, workdir, timer
                )
            restored = None
        ended_by = cursor.phases[-1]["ended_by"]
    except Interrupted:
        ended_by = "interrupted"
        raise
    except NonFiniteError:
        ended_by = "nonfinite"
        raise
    finally:
        row = {**start, "to_step": cursor.global_step, "ended_by": ended_by}
        tables.write_rows(workdir / "starts.jsonl", [*starts, row])
        if ended_by in ("interrupted", "nonfinite"):
            _summarise(workdir, cursor, ended_by, materials)
        checkpoints.close()
    summary = _summarise(workdir, cursor, ended_by, materials)
    rows = tables.read_rows(workdir / "metrics.jsonl")
    tables.plot_losses(rows, summary["best"], workdir / "losses.png")
    console.say(tables.summary_text(summary, workdir))
    return summary


def _after_shortage(cursor: fit.Cursor, workdir: AnyPath) -> str:
    """Tell how a run goes on that ran out of memory in a phase."""
    if cursor.saves == 0:
        return f"{shortage.WHICH_FITS} Nothing is lost: the run had no checkpoint yet."
    begun = cursor.lr is not None
    return (
        f"{shortage.WHICH_FITS} The checkpoints in {workdir} are whole. "
        + ("" if begun else "With more microbatches in this phase the same command goes on there. ")
        + "Any other batches make other numbers, and so another run: another --workdir, and "
        f"--config.init_from={workdir} to begin with these weights."
    )


def _phase_reached(workdir: AnyPath, settings: Settings) -> int:
    """The phase that a run in a workdir seems to go on with: what it finds there tells for sure."""
    cursor = checkpoint.newest_cursor(workdir) or {}
    return min(cursor.get("phase", 0), len(settings.phases) - 1)


def _starts_before(workdir: AnyPath, reached: int) -> list[dict[str, Any]]:
    """The rows of earlier starts; one that was killed got as far as its last checkpoint."""
    rows = tables.read_rows(workdir / "starts.jsonl")
    return [{**row, "to_step": reached} if row["to_step"] is None else row for row in rows]


def _summarise(
    workdir: AnyPath, cursor: fit.Cursor, ended_by: str, materials: Materials
) -> dict[str, Any]:
    """Write and return `summary.json`; its top level is of the weights that the run ends with."""
    kept = cursor.best or {}
    summary = {
        "accuracy": kept.get("accuracy"),
        "val_loss": kept.get("val_loss"),
        "seconds": cursor.setup_seconds + sum(p["seconds"]["total"] for p in cursor.phases),
        "ended_by": ended_by,
        "best": cursor.best,
        "best_by": materials.settings.best_by,
        "baselines": cursor.baselines or None,
        "advice": best.advice(materials.settings, cursor.best, cursor.phases),
        "bottleneck": bottleneck.of_phases(
            cursor.phases,
            materials.settings.data,
            materials.train_images.in_memory,
            memory.cores(),
        ),
        "phases": cursor.phases,
    }
    tables.write_json(workdir / "summary.json", summary)
    return summary


def _begin(
    materials: Materials, initial: Weights, restored: Checkpoint | None
) -> tuple[fit.Cursor, fit.Progress]:
    """Find where to begin: at the first step, or where a checkpoint stands."""
    if restored is None:
        start = sharding.replicate(initial, materials.mesh)
        return fit.Cursor(), fit.Progress(start, Best(sharding.fetch(initial), np.zeros(0)))
    kept = Best(fit.weights_of(restored.best), restored.best.get("losses", np.zeros(0)))
    current = sharding.replicate(fit.weights_of(restored.state), materials.mesh)
    return fit.Cursor(**restored.cursor), fit.Progress(current, kept)


def prepare(
    settings: Settings, console: Console, stop: Stop = NEVER, phase: int = 0
) -> tuple[Materials, Weights]:
    """Open and check everything that a run needs, before anything is written to a workdir.

    Args:
      settings: of the run.
      console: where to tell what happens.
      stop: set from outside, to end this.
      phase: the one that images are wanted for.

    Raises:
      UserError: whatever is wrong with data, model, weights, batch size.
    """
    settings = settings.at_size(settings.phases[phase].image_size)
    data = settings.data
    dataset = hosts.together(lambda: open_data(settings))
    mesh = sharding.data_mesh()
    model, initial, origin = hosts.together(lambda: open_model(settings, dataset.classes))
    listed = describe_data(dataset)
    check_same(listed, initial)
    if told := validated_before(settings, dataset):
        console.say(told)
    check_batch_size(settings, len(dataset.train), mesh.size)
    cache = cache_directory(settings)
    dataset, train, valid = reading.read_images(settings, dataset, console, cache, stop)
    check_batch_size(settings, len(dataset.train), mesh.size)
    console.say(
        f"{len(dataset.train)} training and {len(dataset.valid)} validation images in "
        f"{len(dataset.classes)} classes, at {data.image_size} px, {data.interpolation}; "
        f"{settings.model.name} on {mesh.size} "
        f"{jax.devices()[0].platform} device{'s' if mesh.size > 1 else ''}"
        + (f" of {hosts.count()} processes" if hosts.count() > 1 else "")
    )
    if balance.is_skewed(dataset.train.labels):
        labels, classes = dataset.train.labels, dataset.classes
        console.say(balance.in_words(labels, classes, settings.data.balance))
    for told in (registry.left_out_in_words(dataset), pretrained.in_words(origin)):
        if told:
            console.say(told)
    forward = metrics.make_forward(
        model, settings.augment, data.image_size, mesh, settings.deterministic
    )
    materials = Materials(
        settings, mesh, model, forward, dataset, train, valid, cache, console, stop, origin, listed
    )
    return materials, initial


def check_same(data: Mapping[str, Any], initial: Weights) -> None:
    """Raises UserError where processes see different data, or start from different weights."""
    if hosts.count() == 1:
        return
    weights = checkpoint.digest(initial._asdict())
    hosts.demand_same({**data, "weights": weights}, "The processes do not see the same files:")


def validated_before(settings: Settings, dataset: Dataset) -> str:
    """A warning where a run begins with weights that were trained on what validates now, or "".

    That is so when images were added to a data set since, and others are held out of it.
    """
    if not settings.init_from:
        return ""
    try:
        about = json.loads(paths.read(paths.of(settings.init_from) / "data.json"))
        taken = [str(digest) for digest in about["train_sample"]]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""  # a run that left no sample
    share = overlap.share_validating(taken, dataset)
    if share < SHARE_WORTH_TELLING:
        return ""
    return (
        f"warning: some {share:.0%} of the images that {settings.init_from} was trained on "
        "validate now, and this run begins with its weights: accuracy comes out too high"
    )


class Opened(NamedTuple):
    """A model, the weights that it begins with, and where those come from (JSON data)."""

    model: Model
    weights: Weights
    origin: dict[str, Any]


def open_model(settings: Settings, classes: tuple[str, ...]) -> Opened:
    """The model with its initial weights: pretrained or random body, and a new head.

    With `init_from` the body, and the head where the classes are the same ones, come from that
    run's best weights.

    Raises:
      UserError: weights that are missing, or of another architecture.
    """
    key = jax.random.key(settings.seed)
    if settings.init_from:
        model = create_model(settings, len(classes), load.expected(settings))
        initial = _init_from(settings, model, classes, key)
        return Opened(model, initial, {"init_from": settings.init_from})
    loaded = pretrained.load(settings.model.name, settings.model.weights)
    if loaded is None:
        model = create_model(settings, len(classes))
        return Opened(model, Weights(*jax.jit(model.init)(key)), {"source": "none"})
    model = create_model(settings, len(classes), loaded.preprocessing)
    initial = _with_new_head(model, key, loaded.params, loaded.stats)
    return Opened(model, initial, loaded.origin)


def _with_new_head(model: Model, key: Any, params: Any, stats: Any) -> Weights:
    head, head_stats = jax.jit(model.init_head)(key)
    return Weights({**params, "head": head}, {**stats, "head": head_stats})


def create_model(settings: Settings, classes: int, expected: Preprocessing | None = None) -> Model:
    """The model that `config.model` describes; `expected` of images by its weights, None: usual."""
    m = settings.model
    return models.create(
        m.name,
        classes,
        hidden=m.hidden,
        dropout=m.dropout,
        pooling=m.pooling,
        dtype=m.compute_dtype,
        conv=m.conv,
        preprocessing=expected,
    )


def _init_from(settings: Settings, model: Model, classes: tuple[str, ...], key: Any) -> Weights:
    """The best weights of another run; a head for other classes is new."""
    source = paths.of(settings.init_from)
    saved = fit.weights_of(checkpoint.read_newest(source).best)
    same_classes = same_config.read_json(source / "classes.json") == list(classes)
    result, problems = [], []
    shapes = Weights(*jax.eval_shape(model.init, key))
    for kind, wanted, given in zip(Weights._fields, shapes, saved, strict=True):
        tree = {}
        for group in models.GROUPS if same_classes else models.GROUPS[:-1]:
            try:
                tree[group] = checkpoint.fill(wanted[group], checkpoint.flat(given[group]))
            except ValueError as error:
                problems += [f"{kind}.{group}.{line}" for line in str(error).split("; ")]
        result.append(tree)
    if problems:
        title = f"The weights of {source} do not fit {settings.model.name}:"
        raise UserError(title, problems, "config.model should be as in that run.")
    return Weights(*result) if same_classes else _with_new_head(model, key, *result)


def check_batch_size(settings: Settings, examples: int, devices: int) -> None:
    """Raises UserError where a batch cannot be made or divided."""
    problems, batch_size = [], settings.data.batch_size
    for index, phase in enumerate(settings.phases):
        if phase.microbatches > 1 and batch_size % (devices * phase.microbatches):
            problems.append(
                f"config.phases[{index}].microbatches={phase.microbatches}: batches of "
                f"{batch_size} cannot be divided by it on {devices} devices"
            )
    mixing = [p for p in settings.phases if settings.augment.mixes and p.inputs == "augmented"]
    for phase in mixing:
        if batch_size % (2 * devices * phase.microbatches):
            problems.append(
                f"config.augment.mixup_alpha, cutmix_alpha: in {phase.name} each of {devices} "
                f"devices would hold an odd number of the batch's {batch_size} images"
                + (f" in each of {phase.microbatches} parts" if phase.microbatches > 1 else "")
            )
    if batch_size % devices:
        problems.append(f"config.data.batch_size={batch_size} is no multiple of {devices} devices")
    if batch_size > examples:
        problems.append(
            f"config.data.batch_size={batch_size} is more than the {examples} training images"
        )
    if problems:
        raise UserError("The batch size does not fit:", problems)


def describe(workdir: AnyPath, config: Any, materials: Materials) -> None:
    """Write what a reader of the workdir needs: config, classes, data, preprocessing, weights.

    Raises:
      UserError: the workdir holds checkpoints of a run on other data; nothing is written then.
    """
    data = describe_data(materials.dataset)
    if checkpoint.steps(workdir):
        check_data(workdir, data)
    about = {"listed": dict(materials.listed), "train_sample": overlap.sample(materials.dataset)}
    tables.write_json(workdir / "data.json", {**data, **about})
    tables.write_json(workdir / "config.json", load.as_dict(config))
    tables.write_json(workdir / "classes.json", list(materials.dataset.classes))
    used = preprocessing_of(materials.settings, materials.model)
    tables.write_json(workdir / RUN_FILE, used._asdict())
    tables.write_json(workdir / "weights.json", materials.origin)


def preprocessing_of(settings: Settings, model: Model) -> Preprocessing:
    """Preprocessing of a run's images: what its own weights expect."""
    return model.preprocessing._replace(
        image_size=settings.phases[-1].image_size,
        crop_fraction=1.0,
        interpolation=settings.data.interpolation,
    )


def describe_data(dataset: Dataset) -> dict[str, Any]:
    """Facts that tell one data set from another: classes, numbers, a digest of names and labels."""
    total = hashlib.sha256()
    for split in (dataset.train, dataset.valid):
        for name, label in zip(split.names, split.labels, strict=True):
            total.update(f"{label} {name}\n".encode(errors="surrogateescape"))
        total.update(b"\n")
    return {
        "classes": list(dataset.classes),
        "train": len(dataset.train),
        "valid": len(dataset.valid),
        "digest": total.hexdigest(),
    }


def check_data(workdir: AnyPath, data: dict[str, Any]) -> None:
    """Raises UserError, saying what differs, where the data are not those of the run."""
    _compare(workdir, same_config.read_json(workdir / "data.json"), data)


def check_listed(workdir: AnyPath, data: dict[str, Any]) -> None:
    """As `check_data`, of data whose unreadable images are still among the others."""
    before = same_config.read_json(workdir / "data.json")
    _compare(workdir, before.get("listed", before), data)


def _compare(workdir: AnyPath, before: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    differences = [
        f"{key}: {before.get(key)} then, {data[key]} now"
        for key in ("classes", "train", "valid", "digest")
        if before.get(key) != data[key]
    ]
    if differences:
        raise UserError(
            f"The data have changed since the run in {workdir} began:",
            differences,
            "Bring the files back, or begin another run (config.init_from takes its weights).",
        )


def find_rate(
    config: Any, workdir: str | AnyPath, phase: str, console: Console | None = None
) -> dict[str, Any]:
    """The range test for one phase of a config, from a run's newest weights or the initial ones.

    Args:
      config: as for `train`.
      workdir: gets `lr_find/PHASE.json` and `.png`; a run of the same config in it gives the
        weights.
      phase: name of the phase, "" = the first with lr="find".

    Raises:
      UserError: no such phase, and what `train` raises.
    """
    console = console or Console(None)
    paths.demand_workdir(workdir)
    settings, config = start_up(config, workdir)
    workdir = paths.of(workdir)
    index = _phase_index(settings, phase)
    hosts.together(lambda: same_config.check(workdir, config))
    with shortage.told(settings, "before the first step"):
        materials, current = prepare(settings, console, phase=index)
    begun = False
    if checkpoint.steps(workdir):
        newest = checkpoint.read_newest(workdir)
        current = fit.weights_of(newest.state)
        begun = newest.cursor["phase"] == index and newest.cursor["lr"] is not None
    paths.make_folder(workdir)
    with ExitStack() as held:
        lock = checkpoint.lock(workdir, console.say)
        hosts.together(lambda: held.enter_context(lock))
        describe(workdir, config, materials)
        current = sharding.replicate(current, materials.mesh)
        spec = fit.make_spec(materials, index)
        with shortage.told(materials.settings, f"in phase {spec.phase.name}", spec.phase):
            if not begun:
                current = rebase.rebase(spec, materials, current)
            runner = fit.make_runner(spec, materials, current)
            with reading.closing(runner):
                curve = range_test.find_rate(spec, materials, runner, current, workdir)
    console.say(f"{settings.phases[index].name}: learning rate {curve.lr:.2e} ({curve.rule})")
    return tables.curve_json(curve)


def _phase_index(settings: Settings, name: str) -> int:
    names = [phase.name for phase in settings.phases]
    if name in names:
        return names.index(name)
    finding = [index for index, phase in enumerate(settings.phases) if phase.lr == "find"]
    if not name:
        return finding[0] if finding else 0
    raise UserError(f"No phase is named {name!r}", hint=f"The phases are: {', '.join(names)}")


def open_data(settings: Settings) -> Dataset:
    """The data set of a config, labels only."""
    data = settings.data
    return registry.open_dataset(
        data.source,
        valid_fraction=data.valid_fraction,
        split_seed=data.split_seed,
        folds=data.folds,
        fold=data.fold,
    )


def _finished(workdir: AnyPath) -> dict[str, Any] | None:
    """The summary of a finished run, if the workdir holds one."""
    try:
        summary = json.loads(paths.read(workdir / "summary.json"))
    except (OSError, ValueError):
        return None
    return None if summary["ended_by"] in ("interrupted", "nonfinite") else summary


def cache_directory(settings: Settings) -> AnyPath:
    """Folder of features and compiled programs: as the config says, or the user's cache."""
    given = settings.cache_dir
    return paths.of(given) if given else default_directory()


def start_up(config: Any, workdir: str | AnyPath = "") -> tuple[Settings, dict[str, Any]]:
    """Read a config and set up the process for it; -> settings, and the config for the workdir.

    Raises:
      UserError: a bad config, or buckets in it that cannot be reached.
    """
    settings = load.read(config)
    named = (settings.model.weights, settings.data.source)  # file:PATH, folder:PATH, csv:PATH
    files = [name.partition(":")[2] for name in named]
    paths.demand(settings.cache_dir, settings.init_from, *files, workdir=workdir)
    set_up(settings)
    plain = hosts.together(lambda: load.resolved(config))
    return load.from_dict(plain), plain


def set_up(settings: Settings) -> None:
    """Let the process keep compiled programs on disk, and freed memory in hand."""
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # see allocator.py
    if jax.default_backend() == "cpu":
        allocator.keep_freed_memory()
    else:
        allocator.keep_freed_images()
    if not getattr(jax.config, "jax_compilation_cache_dir", None):
        jax.config.update("jax_compilation_cache_dir", str(cache_directory(settings) / "xla"))
        # By itself JAX keeps what took a second to compile: one in ten of the programs of a run.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@contextmanager
def _told_to_stop() -> Iterator[Stop]:
    """An event that SIGINT and SIGTERM set while this lasts (in the main thread only)."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, _: Any) -> None:
        if stop.asked:  # twice: at once
            raise KeyboardInterrupt
        stop.ask()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
