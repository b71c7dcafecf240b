"""Reads a config once, checks all of it, and returns frozen dataclasses."""

import dataclasses
import difflib
import math
import re
import types
from collections.abc import Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from ml_collections import ConfigDict

from jaxft.augment.augment import PRESETS, Augmentation
from jaxft.data.images.decode import MOST_PIXELS
from jaxft.data.sources.holdout import Holdout
from jaxft.devices import platform
from jaxft.errors import UserError
from jaxft.models import BODIES, GROUPS
from jaxft.models.body import Preprocessing
from jaxft.models.conv import LOWERINGS, is_lowering
from jaxft.models.weights import hub, pretrained
from jaxft.models.weights.preprocessing import of_run
from jaxft.recipe import schedules
from jaxft.recipe.lr_finder import AUTO, RULES, FinderSettings
from jaxft.recipe.optim import OptimizerSettings
from jaxft.recipe.overfit import OverfitSettings
from jaxft.runtime import paths

SWEEPS = {"sgd": (1e-7, 10.0), "adamw": (1e-4, 0.1)}  # rates of a range test
LEAST_WARM_STEPS = 20  # of a warm-up: a rate that rises within fewer makes the loss jump
UNTIL_OVERFIT = "until_overfit"
MOST_EPOCHS = 10_000
SMALLEST_IMAGE = 32  # pixels; the bodies halve an image five times
LARGEST_IMAGE = 4096
SIZES = f"from {SMALLEST_IMAGE} to {LARGEST_IMAGE}, or 0"
MOST_PERSPECTIVE = 0.25  # beyond, corners show what lies a side outside the canvas


@dataclass(frozen=True)
class Phase:
    """Layer groups that learn and how fast, from which inputs, for how long, on which schedule.

    `groups` names the trained groups only; every other group is frozen.
    """

    name: str
    groups: Mapping[str, float]
    inputs: Literal["augmented", "cached"]
    views: int
    image_size: int
    lr: float | str
    schedule: Literal["constant", "one_cycle", "sgdr"]
    epochs: int
    cycles: int | str
    max_cycles: int
    cycle_epochs: int
    cycle_mult: int
    warmup_epochs: float
    bn: Literal["rebased", "train", "per_device", "frozen"]
    microbatches: int

    @property
    def until_overfit(self) -> bool:
        """True where over-fitting ends the phase (`max_cycles` guards it)."""
        return self.schedule == "sgdr" and self.cycles == UNTIL_OVERFIT

    @property
    def cycle_lengths(self) -> tuple[int, ...]:
        """Epochs of every cycle that the phase may run; without restarts it is one cycle."""
        if self.schedule != "sgdr":
            return (self.epochs,)
        count = self.max_cycles if self.until_overfit else int(self.cycles)
        return schedules.cycle_lengths(count, self.cycle_epochs, self.cycle_mult)

    @property
    def trains_body(self) -> bool:
        """True where any group but the head learns."""
        return any(group != "head" for group in self.groups)

    def warm_steps(self, steps_per_epoch: int) -> int:
        """Steps of the warm-up: LEAST_WARM_STEPS or a third of the phase where epochs are short.

        Else it leaves the first cycle a step at least.
        """
        if not self.warmup_epochs:
            return 0
        first, *_ = lengths = [epochs * steps_per_epoch for epochs in self.cycle_lengths]
        least = min(LEAST_WARM_STEPS, sum(lengths) // 3)
        return max(min(round(self.warmup_epochs * steps_per_epoch), first - 1), least)

    def rates(self, lr: float, steps_per_epoch: int) -> schedules.Schedule:
        """The phase's schedule with its peak at `lr`; a warm-up shortens the first cycles."""
        left = warm = self.warm_steps(steps_per_epoch)
        cycle_steps = []
        for epochs in self.cycle_lengths:
            steps = epochs * steps_per_epoch
            if steps > left:
                cycle_steps.append(steps - left)
            left = max(left - steps, 0)
        schedule = {
            "constant": lambda: schedules.constant(lr),
            "one_cycle": lambda: schedules.one_cycle(lr, sum(cycle_steps)),
            "sgdr": lambda: schedules.sgdr(lr, cycle_steps),
        }[self.schedule]()
        return schedules.warm_up(schedule, warm)


@dataclass(frozen=True)
class DataSettings:
    """Settings of `config.data`; see configs/base.py for each key."""

    source: str
    image_size: int
    interpolation: Literal["auto", "bilinear", "bicubic"]
    batch_size: int
    valid_fraction: float
    split_seed: int
    folds: int
    fold: int
    balance: Literal["none", "sampling", "weights"]
    views_seed: int
    max_pixels: int
    skip_bad: bool
    memory_gb: float
    cache_memory_gb: float
    threads: int
    workers: int


@dataclass(frozen=True)
class ModelSettings:
    """Settings of `config.model`; see configs/base.py for each key."""

    name: str
    weights: str
    hidden: tuple[int, ...]
    dropout: tuple[float, ...]
    pooling: Literal["max_avg", "avg"]
    dtype: Literal["auto", "float32", "bfloat16"]
    conv: str

    @property
    def compute_dtype(self) -> str:
        """Dtype that the body computes in; `auto` is bfloat16 where the hardware is made for it."""
        if self.dtype != "auto":
            return self.dtype
        return "float32" if platform.current().name == "cpu" else "bfloat16"


@dataclass(frozen=True)
class PlanSettings:
    """Settings of `config.plan`; see configs/base.py for each key."""

    examples: int
    valid_examples: int
    classes: int


@dataclass(frozen=True)
class Settings:
    """A whole config, checked. `phases` is the recipe."""

    seed: int
    init_from: str
    cache_dir: str
    checkpoint_minutes: float
    deterministic: bool
    overlap_gradients: bool
    best_by: Literal["val_loss", "accuracy"]
    data: DataSettings
    augment: Augmentation
    model: ModelSettings
    optimizer: OptimizerSettings
    finder: FinderSettings
    overfit: OverfitSettings
    plan: PlanSettings
    phases: tuple[Phase, ...]

    @property
    def from_scratch(self) -> bool:
        """True where the body begins with random weights."""
        return self.model.weights == "none" and not self.init_from

    def at_size(self, image_size: int) -> "Settings":
        """With images of so many pixels: `data`'s, and those of every phase that names no size."""
        return dataclasses.replace(
            self,
            data=dataclasses.replace(self.data, image_size=image_size),
            phases=tuple(
                dataclasses.replace(phase, image_size=phase.image_size or image_size)
                for phase in self.phases
            ),
        )


def read(config: ConfigDict) -> Settings:
    """Check a config completely and freeze it.

    Raises:
      UserError: lists every unknown, missing, mistyped or senseless key.
    """
    return from_dict(as_dict(config))


def from_dict(plain: dict[str, Any]) -> Settings:
    """As `read`, of a config as plain data, such as `config.json` holds."""
    plain = _with_sweep(_with_preset(plain))
    errors = list(_shape_errors(Settings, plain, "config"))
    # A value of the wrong type, reported already, may be none that a comparison takes.
    with suppress(KeyError, TypeError, AttributeError) if errors else nullcontext():
        errors += _value_errors(plain)
    if errors:
        raise UserError("The config has mistakes:", errors, "configs/base.py explains every key.")
    settings: Settings = _freeze(Settings, plain)
    return settings.at_size(settings.data.image_size)


def resolved(config: Any) -> dict[str, Any]:
    """A config as plain data, with what depends on platform and weights settled; as `read`, else.

    Raises:
      UserError: also where the weights are asked for what they expect, and cannot be.
    """
    plain = as_dict(config)
    settings = from_dict(plain)
    plain["augment"] = dataclasses.asdict(settings.augment)
    plain["finder"].update(lo=settings.finder.lo, hi=settings.finder.hi)
    plain["model"]["dtype"] = settings.model.compute_dtype
    data = plain["data"]
    if data["image_size"] == 0 or data["interpolation"] == "auto":
        own = expected(settings)
        data["image_size"] = data["image_size"] or own.image_size
        if data["interpolation"] == "auto":
            data["interpolation"] = own.interpolation
    return plain


def _with_preset(plain: dict[str, Any]) -> dict[str, Any]:
    """The config with every key of `augment` that is None as the preset has it."""
    section = plain.get("augment")
    if not isinstance(section, Mapping):
        return plain
    # An unknown preset is reported as such; any known one keeps its Nones from being, too.
    preset = PRESETS.get(str(section.get("preset")), PRESETS["none"])
    filled = {k: getattr(preset, k, None) if v is None else v for k, v in section.items()}
    return {**plain, "augment": filled}


def _with_sweep(plain: dict[str, Any]) -> dict[str, Any]:
    """The config with the range test's ends by optimizer, where `finder.lo` or `hi` is None."""
    finder, optimizer = plain.get("finder"), plain.get("optimizer")
    if not isinstance(finder, Mapping) or not isinstance(optimizer, Mapping):
        return plain
    # An unknown optimizer is reported as such; any ends will do.
    ends = dict(
        zip(("lo", "hi"), SWEEPS.get(str(optimizer.get("name")), (1e-30, 1e30)), strict=True)
    )
    finder = {key: ends.get(key) if value is None else value for key, value in finder.items()}
    return {**plain, "finder": finder}


def expected(settings: Settings) -> Preprocessing:
    """Preprocessing that the weights expect which a run begins with.

    Raises:
      UserError: it is written beside them, and cannot be read or fetched.
    """
    if settings.init_from:
        return of_run(paths.of(settings.init_from))
    return pretrained.preprocessing(settings.model.name, settings.model.weights)


def expected_size(settings: Settings) -> tuple[int, bool]:
    """Pixels of the images that the weights expect, and whether these were asked.

    Without a connection: only a file or a run on this machine is looked at, where it is there. Of
    other weights the size is the one that is usual for the model.
    """
    kind, _, file = settings.model.weights.partition(":")
    place = settings.init_from or (file if kind == "file" else "")
    if settings.from_scratch:
        return _usual_size(settings), True
    if place and not paths.is_remote(place):
        with suppress(UserError):
            return expected(settings).image_size, True
    return _usual_size(settings), False


def _usual_size(settings: Settings) -> int:
    return BODIES[settings.model.name]("float32", "auto").preprocessing.image_size


def as_dict(config: Any) -> Any:
    """A config as plain dicts, lists and numbers, as `config.json` holds it."""
    if isinstance(config, ConfigDict):
        return {key: as_dict(config[key]) for key in config}
    if isinstance(config, Mapping):
        return {key: as_dict(value) for key, value in config.items()}
    if isinstance(config, tuple | list):
        return [as_dict(value) for value in config]
    return config


def _shape_errors(kind: Any, section: Any, path: str) -> Iterator[str]:
    """Unknown keys, missing keys and wrong types of a section and all below it."""
    if not isinstance(section, Mapping):
        yield f"{path} is {section!r}; it should be a section with keys of its own"
        return
    fields = {field.name: field.type for field in dataclasses.fields(kind)}
    for key in section:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            yield f"{path}.{key} is no key; {meant}known: {', '.join(fields)}"
    for key, field_type in fields.items():
        if key not in section:
            yield f"{path}.{key} is missing"
        else:
            yield from _type_errors(field_type, section[key], f"{path}.{key}")


def _type_errors(wanted: Any, value: Any, path: str) -> Iterator[str]:
    if dataclasses.is_dataclass(wanted):
        yield from _shape_errors(wanted, value, path)
    elif get_origin(wanted) is tuple:
        if not isinstance(value, list):
            yield f"{path} is {value!r}; it should be a tuple"
            return
        for index, item in enumerate(value):
            yield from _type_errors(get_args(wanted)[0], item, f"{path}[{index}]")
    elif get_origin(wanted) is Literal:
        if value not in get_args(wanted):
            yield f"{path} is {value!r}; it should be one of: {', '.join(get_args(wanted))}"
    elif path.endswith(".groups"):
        yield from _group_errors(value, path)
    elif not _is_a(wanted, value):
        names = " or ".join(kind.__name__ for kind in _kinds(wanted))
        yield f"{path} is {value!r}; it should be of type {names}"
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{path} is {value}; it should be a finite number"


def _kinds(wanted: Any) -> tuple[type, ...]:
    return get_args(wanted) if isinstance(wanted, types.UnionType) else (wanted,)


def _is_a(wanted: Any, value: Any) -> bool:
    kinds = _kinds(wanted)
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int) and float in kinds:
        return True
    return isinstance(value, kinds)


def _group_errors(groups: Any, path: str) -> Iterator[str]:
    if not isinstance(groups, Mapping):
        yield f"{path} is {groups!r}; it should map layer groups to multipliers"
        return
    for name, multiplier in groups.items():
        if name not in GROUPS:
            yield f"{path}.{name} is no layer group; the layer groups are: {', '.join(GROUPS)}"
        elif isinstance(multiplier, bool) or not isinstance(multiplier, int | float):
            yield f"{path}.{name} is {multiplier!r}; it should be a number"
        elif not 0 <= multiplier < float("inf"):
            yield f"{path}.{name} is {multiplier}; it should be 0 (frozen) or more"


def _value_errors(plain: Mapping[str, Any]) -> list[str]:
    """Values of the right type that make no sense, alone or together."""
    data, model, finder = plain["data"], plain["model"], plain["finder"]
    known = model["name"] in BODIES
    sources = pretrained.sources(model["name"]) if known else ("imagenet", *hub.all_tags(), "none")
    checks = [
        (0 <= plain["seed"] < 2**31, "config.seed should be from 0 to 2147483647"),
        (plain["checkpoint_minutes"] > 0, "config.checkpoint_minutes should be more than 0"),
        (
            _is_size(data["image_size"]),
            f"config.data.image_size should be {SIZES} (the weights' own)",
        ),
        (
            data["source"].partition(":")[1:] != (":", ""),
            f"config.data.source is {data['source']!r}; nothing comes after the colon",
        ),
        (data["batch_size"] >= 2, "config.data.batch_size should be 2 or more"),
        (0 <= data["views_seed"] < 2**31, "config.data.views_seed should be from 0 to 2147483647"),
        (
            1 <= data["max_pixels"] <= MOST_PIXELS,
            f"config.data.max_pixels should be from 1 to {MOST_PIXELS} (Pillow opens no larger)",
        ),
        *(
            (
                data[key] >= 0 or data[key] == -1,
                f"config.data.{key} is {data[key]}; it should be 0 or more, or -1 (a default)",
            )
            for key in ("memory_gb", "cache_memory_gb")
        ),
        (data["threads"] >= 0, "config.data.threads should be 0 or more"),
        (data["workers"] >= 0, "config.data.workers should be 0 or more"),
        (
            known,
            f"config.model.name is {model['name']!r}; known: {', '.join(BODIES)}",
        ),
        (
            re.match("file:.", model["weights"]) or model["weights"] in sources,
            f"config.model.weights is {model['weights']!r}; it should be file:PATH or one of "
            f"{', '.join(sources)}",
        ),
        (
            is_lowering(model["conv"]),
            f"config.model.conv is {model['conv']!r}; it should be one of {', '.join(LOWERINGS)}, "
            "WIDTH a power of 2",
        ),
        (
            not model["hidden"] or len(model["dropout"]) == len(model["hidden"]) + 1,
            f"config.model.dropout has {len(model['dropout'])} rates; it should have one more "
            f"than config.model.hidden ({len(model['hidden'])})",
        ),
        (
            all(0 <= rate < 1 for rate in model["dropout"]),
            "config.model.dropout: every rate should be at least 0 and less than 1",
        ),
        (
            plain["optimizer"]["name"] in ("sgd", "adamw"),
            f"config.optimizer.name is {plain['optimizer']['name']!r}; known: sgd, adamw",
        ),
        (
            finder["rule"] in (AUTO, *RULES),
            f"config.finder.rule is {finder['rule']!r}; known: {', '.join([AUTO, *RULES])}",
        ),
        (
            0 < finder["lo"] < finder["hi"],
            f"config.finder: 0 < lo < hi should hold; lo is {finder['lo']:g}, hi {finder['hi']:g} "
            "(where None, as the optimizer has it)",
        ),
        (finder["steps"] >= 20, "config.finder.steps should be 20 or more"),
        (finder["stop_factor"] > 1, "config.finder.stop_factor should be more than 1"),
        (0 < finder["beta"] < 1, "config.finder.beta should be between 0 and 1"),
        (0 < finder["window_fraction"] <= 0.5, "config.finder.window_fraction: 0 to 0.5"),
        (not finder["k"] < 0, "config.finder.k should be 0 or more"),
        (
            all(number >= 0 for number in plain["plan"].values()),
            "config.plan: numbers of 0 (unknown) or more",
        ),
        (plain["overfit"]["patience"] >= 1, "config.overfit.patience should be 1 or more"),
        (all(width >= 1 for width in model["hidden"]), "config.model.hidden: widths of 1 or more"),
        (0 <= plain["optimizer"]["momentum"] < 1, "config.optimizer.momentum: 0 or more, below 1"),
        (0 <= plain["optimizer"]["beta2"] < 1, "config.optimizer.beta2: 0 or more, below 1"),
        (plain["optimizer"]["eps"] > 0, "config.optimizer.eps should be more than 0"),
        *(
            (not plain["optimizer"][key] < 0, f"config.optimizer.{key} should be 0 or more")
            for key in ("weight_decay", "clip_norm")
        ),
        (
            0 <= plain["optimizer"]["ema_decay"] < 1,
            "config.optimizer.ema_decay should be at least 0 and less than 1",
        ),
        (
            plain["optimizer"]["decay_towards"] != "start" or plain["optimizer"]["weight_decay"],
            "config.optimizer.weight_decay is 0; nothing would decay towards the start",
        ),
        (len(plain["phases"]) > 0, "config.phases should have a phase"),
    ]
    errors = [message for fine, message in checks if not fine]
    held_out = Holdout(*(data[key] for key in ("valid_fraction", "split_seed", "folds", "fold")))
    errors += [f"config.{problem}" for problem in held_out.problems()]
    errors += _augment_errors(plain["augment"])
    names = [phase["name"] for phase in plain["phases"]]
    errors += [
        f"config.phases: two phases are named {n!r}"
        for n in sorted(set(names))
        if names.count(n) > 1
    ]
    for index, phase in enumerate(plain["phases"]):
        errors += _phase_errors(index, phase)
    return errors


def _is_size(pixels: int) -> bool:
    return pixels == 0 or SMALLEST_IMAGE <= pixels <= LARGEST_IMAGE


def _augment_errors(augment: Mapping[str, Any]) -> Iterator[str]:
    shares = ("brightness", "contrast", "crop_min_area", "erase_min_area", "erase_max_area")
    for key in (*(key for key in augment if key.endswith("_probability")), *shares):
        if not 0 <= augment[key] <= 1:
            yield f"config.augment.{key} is {augment[key]}; it should be from 0 to 1"
    for key in ("max_zoom", "crop_max_ratio", "erase_max_ratio"):
        if not augment[key] >= 1:
            yield f"config.augment.{key} is {augment[key]}; it should be 1 or more"
    for key in ("rotate_degrees", "mixup_alpha", "cutmix_alpha"):
        if augment[key] < 0:
            yield f"config.augment.{key} is {augment[key]}; it should be 0 or more"
    if not 0 <= augment["perspective"] <= MOST_PERSPECTIVE:
        yield f"config.augment.perspective should be from 0 to {MOST_PERSPECTIVE}"
    if not augment["crop_min_area"] > 0:
        yield "config.augment.crop_min_area should be more than 0 (1 = no such crop)"
    if augment["erase_min_area"] > augment["erase_max_area"]:
        yield "config.augment: erase_min_area should be at most erase_max_area"
    if not 0 <= augment["label_smoothing"] < 1:
        yield "config.augment.label_smoothing should be at least 0 and less than 1"
    for key in ("brightness", "contrast"):
        if augment["lighting"] == "logit" and augment[key] == 1:
            yield f"config.augment.{key} should be less than 1 with lighting='logit'"


def _phase_errors(index: int, phase: Mapping[str, Any]) -> Iterator[str]:
    path = f"config.phases[{index}]"
    trained = [group for group in GROUPS if phase["groups"].get(group, 0) > 0]
    if not trained:
        yield f"{path}.groups: every group is frozen; one should have a multiplier above 0"
    if phase["inputs"] == "cached" and trained not in ([], ["head"]):
        yield f"{path}.inputs is cached, which can train the head only, not {', '.join(trained)}"
    if isinstance(phase["lr"], str) and phase["lr"] not in ("find", "previous"):
        yield f"{path}.lr is {phase['lr']!r}; it should be a number, 'find' or 'previous'"
    if not isinstance(phase["lr"], str) and not phase["lr"] > 0:
        yield f"{path}.lr is {phase['lr']}; it should be more than 0"
    if phase["lr"] == "previous" and index == 0:
        yield f"{path}.lr is 'previous', but no phase comes before it"
    if isinstance(phase["cycles"], str) and phase["cycles"] != UNTIL_OVERFIT:
        yield f"{path}.cycles is {phase['cycles']!r}; it should be a number or '{UNTIL_OVERFIT}'"
    if phase["inputs"] == "cached" and phase["microbatches"] > 1:
        yield f"{path}.microbatches should be 1: a batch of cached features is small"
    counts = ("epochs", "cycles", "max_cycles", "cycle_epochs", "cycle_mult", "microbatches")
    for key in (*counts, "views"):
        if not isinstance(phase[key], str) and phase[key] < 1:
            yield f"{path}.{key} is {phase[key]}; it should be 1 or more"
    if not _is_size(phase["image_size"]):
        sizes = f"{SIZES} (data.image_size)"
        yield f"{path}.image_size is {phase['image_size']}; it should be {sizes}"
    if phase["warmup_epochs"] > 0 and phase["schedule"] == "one_cycle":
        yield f"{path}.warmup_epochs should be 0: one_cycle rises by itself"
    if not re.fullmatch(r"[\w-]+", phase["name"]):
        yield f"{path}.name is {phase['name']!r}; it should be of letters, digits, _ and -"
    if _too_many_epochs(phase):
        keys = "max_cycles or cycle_mult" if phase["schedule"] == "sgdr" else "epochs"
        yield f"{path}: more than {MOST_EPOCHS} epochs; {keys} is too large"
    first = phase["cycle_epochs" if phase["schedule"] == "sgdr" else "epochs"]
    if not 0 <= phase["warmup_epochs"] <= first:
        yield (
            f"{path}.warmup_epochs is {phase['warmup_epochs']}; "
            f"it should be from 0 to {first}, the epochs of the first cycle"
        )


def _too_many_epochs(phase: Mapping[str, Any]) -> bool:
    if phase["schedule"] != "sgdr":
        return bool(phase["epochs"] > MOST_EPOCHS)
    cycles = phase["max_cycles"] if isinstance(phase["cycles"], str) else phase["cycles"]
    epochs, length = 0, phase["cycle_epochs"]
    for _ in range(cycles):
        epochs, length = epochs + length, length * max(phase["cycle_mult"], 1)
        if epochs > MOST_EPOCHS:
            return True
    return False


def _freeze(kind: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(kind):
        fields = dataclasses.fields(kind)
        return kind(**{f.name: _freeze(f.type, value[f.name]) for f in fields})  # type: ignore[operator]
    if get_origin(kind) is tuple:
        return tuple(_freeze(get_args(kind)[0], item) for item in value)
    if isinstance(value, Mapping):
        return {group: float(value[group]) for group in GROUPS if value.get(group, 0) > 0}
    return float(value) if kind is float else value
