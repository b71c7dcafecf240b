"""Settings: flags of `jaxft train` by name. A new one is a line here.

Those of PARTS train one part of the card: `head` the phases before the body's, `body` the body's
with the weights of the setting `head`; `head_RATE` and `body_RATE` do so at a rate, `head_rules`
and `body_rules` at that of `valley`, whose sweep goes on until the loss diverges, so that every
rule can be read on it.
"""

from pathlib import Path

Flags = tuple[str, ...]

HEAD, BODY = "head", "body"  # parts of the card, and settings that train one of them
FULL = "--config.phases[2]"
RATES = {
    HEAD: ("2.5e-4", "5e-4", "1e-3", "2e-3", "4e-3", "8e-3", "1.6e-2"),
    BODY: ("2.5e-4", "5e-4", "1e-3", "2e-3", "4e-3", "8e-3"),
}
PARTS: dict[str, tuple[str, Flags]] = {
    part: (part, ()) for part in RATES
} | {
    f"{part}_rules": (part, ("--config.finder.rule=valley",)) for part in RATES
} | {
    f"{part}_{rate}": (part, (f"--config.phases[0].lr={rate}",))
    for part, rates in RATES.items()
    for rate in rates
}  # fmt: skip
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
}
FASTAI = "fastai"  # not jaxft's: fine_tune(5) by bench/folder.py, in an interpreter that has fastai
COMMON: Flags = ("--distributed=off",)


def part_of(name: str) -> str:
    """The part of the card that a setting trains alone: HEAD, BODY, or "" for all of it."""
    return PARTS[name][0] if name in PARTS else ""


def flags_of(name: str) -> Flags:
    """Flags of a setting.

    Raises:
      SystemExit: names the settings that there are.
    """
    if name == FASTAI:
        return ("--worker", "--batch-size=32")
    if name in SETTINGS:
        return ("--config=folder", *COMMON, *SETTINGS[name])
    if name not in PARTS:
        known = ", ".join([*SETTINGS, *PARTS, FASTAI])
        raise SystemExit(f"no such setting: {name}; there are {known}")
    part, flags = PARTS[name]
    return (f"--config={Path(__file__).with_name('parts.py')}:{part}", *COMMON, *flags)
