"""Settings: flags of `jaxft train` by name. A new one is a line here."""

Flags = tuple[str, ...]

ADAMW: Flags = (
    "--config.optimizer.name=adamw",
    "--config.finder.rule=half_fall",
    "--config.finder.hi=0.1",
)
FROZEN: Flags = ("--config.phases[2].bn=frozen",)
SETTINGS: dict[str, Flags] = {
    "default": (),
    "frozen": FROZEN,
    "adamw": ADAMW,
    "adamw_frozen": (*ADAMW, *FROZEN),
    "adamw_frozen_3e-5": (*ADAMW, *FROZEN, "--config.phases[2].lr=3e-5"),
    "adamw_frozen_1e-4": (*ADAMW, *FROZEN, "--config.phases[2].lr=1e-4"),
    "adamw_frozen_3e-4": (*ADAMW, *FROZEN, "--config.phases[2].lr=3e-4"),
    "adamw_frozen_1e-3": (*ADAMW, *FROZEN, "--config.phases[2].lr=1e-3"),
    "adamw_frozen_decay": (*ADAMW, *FROZEN, "--config.optimizer.weight_decay=0.01"),
    "adamw_frozen_one_cycle": (
        *ADAMW,
        *FROZEN,
        "--config.phases[2].schedule=one_cycle",
        "--config.phases[2].epochs=7",
        "--config.phases[2].cycles=1",
    ),
    "half_fall": ("--config.finder.rule=half_fall",),
    "valley": ("--config.finder.rule=valley",),
    "minimum": ("--config.finder.rule=minimum",),
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
