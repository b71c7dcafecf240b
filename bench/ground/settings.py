"""Settings: flags of `jaxft train` by name. A new one is a line here."""

Flags = tuple[str, ...]

FULL = "--config.phases[2]"
RATES = ("2.5e-4", "5e-4", "1e-3", "2e-3", "4e-3", "8e-3")
RULES = ("still_improving", "fall", "valley", "minimum", "steep", "slide")
SETTINGS: dict[str, Flags] = {
    "default": (),
    "batch_statistics": (f"{FULL}.bn=train",),
    "frozen": (f"{FULL}.bn=frozen",),
    "sgd": ("--config.optimizer.name=sgd",),
    "sgd_batch_statistics": ("--config.optimizer.name=sgd", f"{FULL}.bn=train"),
    "no_warmup": (f"{FULL}.warmup_epochs=0",),
    "twice": (f"{FULL}.cycle_epochs=2", f"{FULL}.warmup_epochs=2"),
    "decay": ("--config.optimizer.weight_decay=0.01",),
    "one_cycle": (
        f"{FULL}.schedule=one_cycle",
        f"{FULL}.warmup_epochs=0",
        f"{FULL}.epochs=7",
        f"{FULL}.cycles=1",
    ),
    **{f"lr_{rate}": (f"{FULL}.lr={rate}",) for rate in RATES},
    **{f"head_lr_{rate}": (f"--config.phases[0].lr={rate}",) for rate in RATES},
    **{rule: (f"--config.finder.rule={rule}",) for rule in RULES},
}
FASTAI = "fastai"  # not jaxft's: fine_tune(5) by bench/folder.py, in an interpreter that has fastai
COMMON: Flags = ("--config=folder", "--distributed=off")


def flags_of(name: str) -> Flags:
    """Flags of a setting.

    Raises:
      SystemExit: names the settings that there are.
    """
    if name == FASTAI:
        return ("--worker", "--batch-size=32")
    if name not in SETTINGS:
        raise SystemExit(f"no such setting: {name}; there are {', '.join([*SETTINGS, FASTAI])}")
    return (*COMMON, *SETTINGS[name])
