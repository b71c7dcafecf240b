"""Settings: flags of `jaxft train` by name. A new one is a line here."""

Flags = tuple[str, ...]

SGD: Flags = (
    "--config.optimizer.name=sgd",
    "--config.finder.rule=still_improving",
    "--config.finder.hi=10",
)
SETTINGS: dict[str, Flags] = {
    "default": (),  # the card: AdamW, the body's statistics frozen, rates by half_fall
    "sgd": (*SGD, "--config.phases[2].bn=train"),  # the card until then
    "sgd_frozen": SGD,
    "free": ("--config.phases[2].bn=train",),  # the batch's statistics
    "full_3e-5": ("--config.phases[2].lr=3e-5",),
    "full_1e-4": ("--config.phases[2].lr=1e-4",),
    "full_3e-4": ("--config.phases[2].lr=3e-4",),
    "full_1e-3": ("--config.phases[2].lr=1e-3",),
    "decay": ("--config.optimizer.weight_decay=0.01",),
    "one_cycle": (
        "--config.phases[2].schedule=one_cycle",
        "--config.phases[2].epochs=7",
        "--config.phases[2].cycles=1",
    ),
    "valley": ("--config.finder.rule=valley",),
    "minimum": ("--config.finder.rule=minimum",),
}
COMMON: Flags = ("--config=folder", "--distributed=off")


def flags_of(name: str) -> Flags:
    """Flags of a setting.

    Raises:
      SystemExit: names the settings that there are.
    """
    if name not in SETTINGS:
        raise SystemExit(f"no such setting: {name}; there are {', '.join(SETTINGS)}")
    return (*COMMON, *SETTINGS[name])
