"""Settings: flags of `jaxft train` by name. A new one is a line here.

Those of PARTS train one part of the card: `head` the phases before the body's, `body` the body's
with the weights of the setting `head`, `gradual` the same after an epoch of its later half.
`head_RATE` and `body_RATE` do so at a rate, `head_rules` and `body_rules` at that of `valley`,
whose sweep goes on until the loss diverges, so that every rule can be read on it. `A+B` has the
flags of both: `body_4e-3+smooth`, `default+smooth+clip`; such a body, too, begins with the weights
of the setting `head` as it is.
"""

Flags = tuple[str, ...]

PARTS_FILE = "bench/ground/parts.py"  # in the checkout's root, where cells run
HEAD, BODY = "head", "body"  # parts of the card, and settings that train one of them
FULL = "--config.phases[2]"
GRADUAL = "gradual"
RATES = ("2.5e-4", "5e-4", "1e-3", "2e-3", "4e-3", "8e-3", "1.6e-2")
PARTS: dict[str, tuple[str, Flags]] = {
    part: (part, ()) for part in (HEAD, BODY, GRADUAL)
} | {
    f"{part}_rules": (part, ("--config.finder.rule=valley",)) for part in (HEAD, BODY)
} | {
    f"{part}_{rate}": (part, (f"--config.phases[0].lr={rate}",))
    for part in (HEAD, BODY)
    for rate in RATES
}  # fmt: skip
SETTINGS: dict[str, Flags] = {
    "default": (),
    "batch_statistics": (f"{FULL}.bn=train",),
    "frozen": (f"{FULL}.bn=frozen",),
    "sgd": ("--config.optimizer.name=sgd",),
    "sgd_batch_statistics": ("--config.optimizer.name=sgd", f"{FULL}.bn=train"),
    "no_warmup": (f"{FULL}.warmup_epochs=0",),
    "long_head": ("--config.phases[0].epochs=8",),
    "long_head_cycle": ("--config.phases[0].epochs=8", "--config.phases[0].schedule=one_cycle"),
    "long_head_views": (
        "--config.phases[0].epochs=8",
        "--config.phases[0].schedule=one_cycle",
        "--config.phases[0].views=4",
    ),
    "twice": (f"{FULL}.cycle_epochs=2", f"{FULL}.warmup_epochs=2"),
    "decay": ("--config.optimizer.weight_decay=0.01",),
    "to_start": (
        "--config.optimizer.weight_decay=1.0",
        "--config.optimizer.decay_towards=start",
    ),
    "clip": ("--config.optimizer.clip_norm=1.0",),
    "average": ("--config.optimizer.ema_decay=0.99",),
    "steep": (f"{FULL}.groups.early=0.1", f"{FULL}.groups.late=0.3"),
    "even": (f"{FULL}.groups.early=1.0", f"{FULL}.groups.late=1.0"),
    "smooth": ("--config.augment.label_smoothing=0.1",),
    "beta2_0.999": ("--config.optimizer.beta2=0.999",),
    "eps_1e-5": ("--config.optimizer.eps=1e-5",),
    "eps_1e-4": ("--config.optimizer.eps=1e-4",),
    "eps_1e-3": ("--config.optimizer.eps=1e-3",),
    "one_cycle": (
        f"{FULL}.schedule=one_cycle",
        f"{FULL}.warmup_epochs=0",
        f"{FULL}.epochs=7",
        f"{FULL}.cycles=1",
    ),
}
FASTAI = "fastai"  # not jaxft's: fine_tune(5) by bench/folder.py, in an interpreter that has fastai
COMMON: Flags = ("--distributed=off",)


def part_of(name: str) -> str:
    """The part of the card that a setting trains alone: HEAD, BODY, or "" for all of it."""
    first = name.partition("+")[0]
    if first not in PARTS:
        return ""
    return HEAD if PARTS[first][0] == HEAD else BODY


def flags_of(name: str) -> Flags:
    """Flags of a setting.

    Raises:
      SystemExit: names the settings that there are.
    """
    if name == FASTAI:
        return ("--worker", "--batch-size=32")
    first, *others = name.split("+")
    unknown = [word for word in others if word not in SETTINGS]
    if first not in SETTINGS and first not in PARTS:
        unknown.insert(0, first)
    if unknown:
        known = ", ".join([*SETTINGS, *PARTS, FASTAI])
        raise SystemExit(f"no such setting: {', '.join(unknown)}; there are {known}")
    part, own = PARTS.get(first, ("", SETTINGS.get(first, ())))
    card = f"{PARTS_FILE}:{part}" if part else "folder"
    added = [flag for name in others for flag in SETTINGS[name]]
    if part:
        added = [of_part(part, flag) for flag in added]
    return (f"--config={card}", *COMMON, *own, *added)


def of_part(part: str, flag: str) -> str:
    """A flag of the card for one part of it, whose last phase has another number.

    Raises:
      SystemExit: the flag is of a phase that the part has not.
    """
    if ("phases[0]" if part != HEAD else "phases[2]") in flag:
        raise SystemExit(f"{flag}: {part} has no such phase of the card")
    return flag.replace("phases[2]", f"phases[{int(part == GRADUAL)}]")
