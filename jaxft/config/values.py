"""Values of a config that make no sense, alone or together."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jaxft.config.settings import UNTIL_OVERFIT
from jaxft.data.images.sizing import MOST_PIXELS
from jaxft.data.sources.holdout import Holdout
from jaxft.models.conv.lowerings import LOWERINGS, is_lowering
from jaxft.models.registry import BODIES
from jaxft.models.variables import GROUPS
from jaxft.models.weights import hub, pretrained
from jaxft.recipe.lr_finder import AUTO, RULES

MOST_EPOCHS = 10_000


SMALLEST_IMAGE = 32  # pixels; the bodies halve an image five times


LARGEST_IMAGE = 4096


SIZES = f"from {SMALLEST_IMAGE} to {LARGEST_IMAGE}, or 0"


MOST_PERSPECTIVE = 0.25  # beyond, corners show what lies a side outside the canvas


def value_errors(plain: Mapping[str, Any]) -> list[str]:
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
