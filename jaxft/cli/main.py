"""The door: flags -> config -> one function per verb. Exit codes: see EXIT_CODES."""

import argparse
import ast
import difflib
import glob
import importlib.util
import io
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_flags import config_path

from jaxft.errors import Interrupted, NonFiniteError, UserError
from jaxft.evaluation.evaluate import score_split
from jaxft.materials.opening import open_data
from jaxft.materials.start_up import set_up, start_up
from jaxft.runtime.console import Console
from jaxft.workdir.rows import write_json, write_rows

EXIT_CODES = """exit codes:
  0 done; 1 a bug of jaxft's; 2 something wrong in what was given; 3 the loss is no longer finite;
  75 interrupted, and the same command goes on"""
CONFIG_HELP = (
    "a config file, or the name of one that comes with jaxft; NAME.py:ARGUMENT hands ARGUMENT to it"
)
OVERRIDES = (
    "any key of the config can be set: --config.data.image_size=160 --config.phases[2].lr=0.01"
)


def entry() -> None:
    """What the console script `jaxft` calls."""
    for stream in (sys.stdout, sys.stderr):  # file names may hold what the terminal cannot show
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one verb; returns the exit code."""
    try:
        return _run(arguments)
    except UserError as error:
        if error.everywhere:
            _tell_once(f"jaxft: {error}")
            return 2
        print(f"jaxft: {error}", file=sys.stderr)
        return _leave(2)
    except NonFiniteError as error:
        _tell_once(f"jaxft: {error}. Try a lower learning rate in another --workdir.")
        return 3
    except KeyboardInterrupt:
        return _leave(75)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        print(f"jaxft: {error.strerror or error}: {error.filename or ''}", file=sys.stderr)
        return _leave(2)
    except Exception:
        traceback.print_exc()
        if _joined():
            print("jaxft: did another process end? If not, then", file=sys.stderr)
        print("jaxft: this is a bug; please report it with the lines above.", file=sys.stderr)
        return _leave(1)


def _run(arguments: Sequence[str]) -> int:
    parser = _parser()
    flags, rest = parser.parse_known_args(arguments)
    if flags.verb is None:
        parser.print_help()
        return 2
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if not glob.glob("/dev/nvidia*"):
        logging.getLogger("jax._src.xla_bridge").addFilter(_is_worth_telling)
    overrides = [item for item in rest if item.startswith("--config.")]
    unknown = [item for item in rest if item not in overrides]
    if unknown:
        raise UserError(
            "Unknown arguments:", unknown, f"`jaxft {flags.verb} --help` lists what there is."
        )
    if overrides and "config" not in flags:
        raise UserError(f"{flags.verb} takes no config:", overrides)
    if "config" in flags:
        flags.config_words = " ".join([flags.config, *overrides])
        flags.config = load_config(flags.config, overrides)
    if "distributed" in flags:
        _join(flags.distributed)
    return flags.function(flags)


def _is_worth_telling(record: logging.LogRecord) -> bool:
    """Tell whether to show a record of JAX's on a machine without an NVIDIA GPU.

    JAX tries the CUDA plugin at every start, and logs a traceback where it finds no CUDA: as it
    should be where the plugin is there for `plan --topology=h100` alone.
    """
    text = record.getMessage()
    return not (text.startswith("Jax plugin configuration error") and "cuda" in text)


def _join(mode: str) -> None:
    """First thing: JAX has to know of the other processes before it does anything else."""
    from jaxft.runtime import hosts

    hosts.join(mode)
    if not hosts.is_first():
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what libraries print, too


def _joined() -> bool:
    """Whether this is one process of several."""
    hosts = sys.modules.get("jaxft.runtime.hosts")
    return hosts is not None and not hosts.alone()


def _tell_once(message: str) -> None:
    """Print to stderr what all processes have to say; the first one does."""
    if not _joined() or sys.modules["jaxft.runtime.hosts"].is_first():
        print(message, file=sys.stderr)


def _leave(code: int) -> int:
    """An exit that the other processes do not share: at once, so that they notice.

    Leaving in good order would wait for them, who wait for this one.
    """
    if _joined():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def load_config(name: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """A config file's `get_config()`, with `--config.KEY=VALUE` applied.

    Args:
      name: a path, or the name of a config that comes with jaxft; an argument after a colon.
      overrides: each `--config.path.to.key=value`, or `--config.path.to.key` for true.

    Raises:
      UserError: no such file, one that fails; lists every override that cannot be applied.
    """
    path, _, argument = name.partition(":")
    module = _load(_find_config(path))
    try:
        config = module.get_config(argument) if argument else module.get_config()
    except Exception as error:
        raise UserError(f"{path}: get_config fails: {type(error).__name__}: {error}") from error
    problems = [problem for item in overrides if (problem := _override(config, item))]
    if problems:
        raise UserError(
            "These keys of the config cannot be set:",
            problems,
            "configs/base.py lists and explains every key.",
        )
    return config


def _find_config(name: str) -> Path:
    """The file itself, or the one of this name that comes with jaxft."""
    given = Path(name).expanduser()
    if given.is_file():
        return given
    spec = importlib.util.find_spec("jaxft.configs")
    folders = spec.submodule_search_locations if spec else None
    shipped = Path(next(iter(folders))) if folders else Path()
    inside = shipped / f"{given.stem}.py"
    plain = name in (given.stem, f"{given.stem}.py", f"configs/{given.stem}.py")
    if plain and inside.is_file():
        return inside
    known = sorted(p.stem for p in shipped.glob("*.py") if p.stem not in ("__init__", "base"))
    raise UserError(f"No config {name}", hint=f"Give a file, or one of: {', '.join(known)}.")


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"jaxft_config_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        module.get_config  # noqa: B018
    except Exception as error:
        raise UserError(f"{path} is no config: {type(error).__name__}: {error}") from error
    return module


def _override(config: ConfigDict, item: str) -> str | None:
    """Apply one override; returns what is wrong with it, if anything."""
    key, equals, text = item.removeprefix("--config.").partition("=")
    try:
        before = config_path.get_value(key, config)
    except (KeyError, IndexError, AttributeError, ValueError, SyntaxError, TypeError):
        return f"config.{key}: no such key{_near(config, key)}"
    if isinstance(before, ConfigDict) or (isinstance(before, tuple) and key == "phases"):
        return f"config.{key}: a section; set one of its keys"
    kind = _kind(config, key, before)
    value = _parse(text if equals else "true", kind)
    if value is None:
        return f"config.{key}: {text!r} is no {kind.__name__}"
    try:
        config_path.set_value(key, config, value)
    except (TypeError, ValueError) as error:
        return f"config.{key}: {error}"
    return None


def _near(config: ConfigDict, key: str) -> str:
    """The keys of the section where `key` should have been."""
    section, _, last = key.rpartition(".")
    try:
        holder = config_path.get_value(section, config) if section else config
    except (KeyError, IndexError, AttributeError, ValueError, SyntaxError, TypeError):
        return ""
    if not isinstance(holder, ConfigDict):
        return ""
    meant = difflib.get_close_matches(last, list(holder), n=1)
    return f"; did you mean {meant[0]}?" if meant else f"; there are: {', '.join(holder)}"


def _kind(config: ConfigDict, key: str, before: Any) -> type:
    """The type that the key was declared to hold, whatever it holds now.

    `object`: a number or a word, as `lr` and `cycles` do.
    """
    section, _, last = key.rpartition(".")
    holder = config_path.get_value(section, config) if section else config
    declared = isinstance(holder, ConfigDict) and last in holder
    return holder.get_type(last) if declared else type(before)


def _parse(text: str, kind: type) -> Any:
    """A value of the kind that the key holds, or None."""
    if kind is bool:
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower())
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if kind is object:
        return value if isinstance(value, int | float) else text
    if kind is str:
        return text
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is tuple:
        return tuple(value) if isinstance(value, list | tuple) else None
    return value if isinstance(value, kind) else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jaxft",
        description="Fine-tune pretrained image classifiers by the classic eight-step recipe.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for name, (function, what, flags) in VERBS.items():
        verb = verbs.add_parser(
            name,
            help=what,
            description=what,
            epilog=(OVERRIDES + "\n\n" if "config" in flags else "") + EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        for flag in flags:
            FLAGS[flag](verb)
        verb.set_defaults(function=function)
    return parser


def _count(text: str) -> int:
    return _at_least(0, text)


def _positive(text: str) -> int:
    return _at_least(1, text)


def _quality(text: str) -> int:
    if _at_least(1, text) > 100:
        raise argparse.ArgumentTypeError(f"{text!r} is more than 100")
    return int(text)


def _at_least(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} on")
    return int(text)


def _flag(*names: str, **how: Any) -> Callable[[argparse.ArgumentParser], Any]:
    """What adds a flag to a verb's parser; as for add_argument."""
    return lambda verb: verb.add_argument(*names, **how)


FLAGS: dict[str, Callable[[argparse.ArgumentParser], Any]] = {
    "config": _flag("--config", required=True, help=CONFIG_HELP),
    "workdir": _flag("--workdir", required=True, help="directory of the run"),
    "phase": _flag(
        "--phase", default="", help='name of the phase (default: the first with lr="find")'
    ),
    "split": _flag("--split", default="valid", help="valid (default), train or test"),
    "weights": _flag("--weights", default="best", choices=("best", "last"), help="default: best"),
    "tta": _flag(
        "--tta", type=_count, default=0, metavar="N", help="random views besides the plain one"
    ),
    "tta_method": _flag(
        "--tta_method",
        default="fastai07",
        choices=("fastai07", "fastai2"),
        help="mean of probabilities (default), or weighted mean of log-probabilities",
    ),
    "batch_size": _flag(
        "--batch-size",
        "--batch_size",
        type=_count,
        default=0,
        metavar="N",
        help="images at a time, for the memory that they take (default: as the run's); results "
        "do not depend on it",
    ),
    "output": _flag(
        "--output", default="predictions.csv", help="CSV to write (default: predictions.csv)"
    ),
    "picture": _flag(
        "--output",
        default="augment_preview.png",
        metavar="FILE",
        help="the picture: .png, .jpg",
    ),
    "shown": _flag(
        "--examples", type=_positive, default=8, metavar="N", help="images (default: 8)"
    ),
    "views": _flag(
        "--views", type=_positive, default=6, metavar="N", help="random views of each (default: 6)"
    ),
    "topology": _flag(
        "--topology",
        default="",
        metavar="NAME",
        help="compile for a TPU slice or GPUs that are not there, such as v5e:2x4, h100, h100:8 "
        "(default: what is there)",
    ),
    "examples": _flag(
        "--examples", type=_count, default=0, metavar="N", help="training images to assume"
    ),
    "classes": _flag("--classes", type=_count, default=0, metavar="N", help="classes to assume"),
    "input": _flag(
        "--input",
        default="synthetic",
        choices=("synthetic", "real"),
        help="made up (default: needs neither images nor weights), or the run's own",
    ),
    "repeats": _flag(
        "--repeats", type=_positive, default=20, metavar="N", help="timings a program (default: 20)"
    ),
    "keep_cache": _flag(
        "--keep-cache",
        "--keep_cache",
        action="store_true",
        help="keep compiled programs, and take them from the cache where they are; the column "
        "compile then says little (default: each is compiled anew)",
    ),
    "json": _flag("--json", default="", metavar="FILE", help="write the figures as JSON, too"),
    "plot": _flag("--plot", default="", metavar="FILE", help="draw the learning rates (.png)"),
    "distributed": _flag(
        "--distributed",
        default="auto",
        choices=("auto", "on", "off"),
        help="one process of several: where JAX detects a cluster (auto, the default), on or off",
    ),
    "source": _flag("--source", required=True, help="folder:PATH or csv:FILE, as for data.source"),
    "output_dir": _flag(
        "--output", "--output_dir", required=True, dest="output_dir", help="folder to make"
    ),
    "shorter_side": _flag(
        "--shorter-side",
        "--shorter_side",
        type=_positive,
        default=256,
        metavar="PIXELS",
        help="larger images are shrunk to it (default: 256); training at an image_size takes the "
        "least trouble with ceil(1.1 image_size)",
    ),
    "format": _flag(
        "--format",
        default="jpeg",
        choices=("jpeg", "raw"),
        help="jpeg (default), or raw pixels: 10 times as large, and nothing to decode in training",
    ),
    "quality": _flag(
        "--quality", type=_quality, default=90, metavar="Q", help="of a JPEG, 1-100 (default: 90)"
    ),
    "workers": _flag(
        "--workers", type=_count, default=0, metavar="N", help="processes (default: one a core)"
    ),
    "max_pixels": _flag(
        "--max-pixels",
        "--max_pixels",
        type=_positive,
        default=0,
        metavar="N",
        help="larger images are refused by their header (default: as data.max_pixels)",
    ),
    "paths": _flag("paths", nargs="+", metavar="IMAGE", help="image files, or folders of them"),
}


def _train(flags: argparse.Namespace) -> int:
    from jaxft import run
    from jaxft.runtime.console import Console

    try:
        run.train(flags.config, flags.workdir, Console(sys.stdout))
    except Interrupted:
        _tell_once("interrupted; the same command goes on from here")
        return 75
    return 0


def _lr_find(flags: argparse.Namespace) -> int:
    from jaxft import run
    from jaxft.runtime.console import Console

    run.find_rate(flags.config, flags.workdir, flags.phase, Console(sys.stdout))
    return 0


def _evaluate(flags: argparse.Namespace) -> int:
    from jaxft.runtime.console import Console

    scores = score_split(
        flags.workdir,
        flags.split,
        flags.weights,
        flags.tta,
        flags.tta_method,
        Console(sys.stderr),
        flags.batch_size,
    )
    print(json.dumps(scores, indent=2, ensure_ascii=False))
    return 0


def _predict(flags: argparse.Namespace) -> int:
    from jaxft.evaluation import predict
    from jaxft.runtime.console import Console

    count = predict.predict_files(
        flags.workdir,
        flags.paths,
        flags.output,
        flags.weights,
        flags.tta,
        flags.tta_method,
        Console(sys.stderr),
        flags.batch_size,
    )
    print(f"{count} image{'s' if count != 1 else ''} -> {flags.output}")
    return 0


def _prepare(flags: argparse.Namespace) -> int:
    from jaxft.data.images.sizing import MAX_PIXELS
    from jaxft.data.prepare import outcome, prepare
    from jaxft.data.prepare.job import Form
    from jaxft.runtime.console import Console

    max_pixels = flags.max_pixels or MAX_PIXELS
    form = Form(flags.shorter_side, flags.format, flags.quality, max_pixels)
    console = Console(sys.stdout)
    found = prepare.prepare(flags.source, flags.output_dir, form, flags.workers, console)
    console.say(outcome.text(found))
    return 0


def _augment_preview(flags: argparse.Namespace) -> int:
    from jaxft.augment import augmentation
    from jaxft.report import augment_preview
    from jaxft.runtime import paths

    _demand_picture("--output", flags.output, (".png", ".jpg", ".jpeg"))
    demand_places(flags.output)
    settings, _ = start_up(flags.config)
    dataset, output = open_data(settings), paths.of(flags.output)
    augment_preview.make(settings, dataset, output, flags.examples, flags.views)
    print(f"{augmentation.in_words(settings.augment)}\n-> {flags.output}")
    return 0


def _plan(flags: argparse.Namespace) -> int:
    if flags.topology:
        os.environ.setdefault("JAX_PLATFORMS", "cpu")  # a device that is there is not needed
        # What is compiled for a device that is not there can't be read back from the cache.
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    from jaxft.config import load
    from jaxft.costs import plan, plan_json, plan_text
    from jaxft.devices import topology
    from jaxft.runtime import paths

    settings = load.read(flags.config)
    if flags.plot:
        _demand_picture("--plot", flags.plot, (".png", ".jpg", ".jpeg", ".pdf", ".svg"))
    demand_places(flags.json, flags.plot)
    target = topology.slice_of(flags.topology) if flags.topology else topology.here()
    sizes = plan.sizes_of(settings, flags.examples, flags.classes)
    set_up(settings)
    console = Console(sys.stdout)
    found = plan.make(settings, sizes, target, console)
    console.say("\n" + plan_text.text(found))
    if flags.json:
        write_json(paths.of(flags.json), plan_json.as_json(found))
    if flags.plot:
        plan_text.plot(found, paths.of(flags.plot))
    return 0


def _bench(flags: argparse.Namespace) -> int:
    import jax

    from jaxft.config import load
    from jaxft.costs import bench, bench_text, plan
    from jaxft.devices import topology
    from jaxft.runtime import hosts, paths

    if flags.input == "real" and (flags.examples or flags.classes):
        raise UserError("--examples and --classes are for --input=synthetic.")
    demand_places(flags.json)
    console = Console(sys.stdout)
    if flags.input == "real":
        settings, _ = start_up(flags.config)
    else:
        settings = load.read(flags.config)
        set_up(settings)
    if not flags.keep_cache:  # how long it takes is asked for
        jax.config.update("jax_enable_compilation_cache", False)
    target = topology.here()
    if flags.input == "real":
        job = bench.real(settings, target, flags.repeats, console)
    else:
        sizes = hosts.together(lambda: plan.sizes_of(settings, flags.examples, flags.classes))
        job = bench.synthetic(settings, sizes, target, flags.repeats, console)
    rows = list(bench.make(job))
    console.say(f"\n{bench_text.explanation(job)}\nTo paste into an issue:\n")
    console.say(bench_text.block(job, rows, flags.config_words))
    if flags.json:
        lines = [bench.as_json(job, row, flags.config_words) for row in rows]
        write_rows(paths.of(flags.json), lines)
    return 0


def demand_places(*files: str) -> None:
    """Raises UserError, before any work is done, where files cannot be written."""
    from jaxft.runtime import paths

    paths.demand(*files)
    places = {file: paths.of(file) for file in files if file and not paths.is_remote(file)}
    problems = [
        f"{file}: is a folder" if place.is_dir() else f"{file}: no folder {place.parent}"
        for file, place in places.items()
        if place.is_dir() or not place.parent.is_dir()
    ]
    if problems:
        raise UserError("These files cannot be written:", problems)


def _demand_picture(flag: str, file: str, kinds: Sequence[str]) -> None:
    """Raises UserError where a file's name does not end like one of these kinds of pictures."""
    if Path(file).suffix.lower() not in kinds:
        raise UserError(f"{flag}={file} should end in {', '.join(kinds)}")


VERBS: dict[str, tuple[Callable[[argparse.Namespace], int], str, tuple[str, ...]]] = {
    "train": (_train, "run a recipe, or go on with it", ("config", "workdir", "distributed")),
    "lr_find": (
        _lr_find,
        "find the learning rate of one phase",
        ("config", "workdir", "phase", "distributed"),
    ),
    "evaluate": (
        _evaluate,
        "metrics of a run's weights on a split",
        ("workdir", "split", "weights", "tta", "tta_method", "batch_size", "distributed"),
    ),
    "predict": (
        _predict,
        "classify image files into a CSV",
        ("workdir", "weights", "tta", "tta_method", "output", "batch_size", "distributed", "paths"),
    ),
    "prepare": (
        _prepare,
        "check and shrink image files once, into a TFDS data set",
        ("source", "output_dir", "shorter_side", "format", "quality", "max_pixels", "workers"),
    ),
    "plan": (
        _plan,
        "what a run would do and cost, without running it",
        ("config", "topology", "examples", "classes", "json", "plot"),
    ),
    "augment_preview": (
        _augment_preview,
        "draw augmented training images as a contact sheet",
        ("config", "picture", "shown", "views"),
    ),
    "bench": (
        _bench,
        "how fast a config's steps are on the devices that are there",
        (
            *("config", "input", "repeats", "examples", "classes", "keep_cache", "json"),
            "distributed",
        ),
    ),
}
