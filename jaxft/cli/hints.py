"""Words that a verb does not know, with what may be meant by them."""

from argparse import ArgumentParser
from collections.abc import Collection, Mapping, Sequence

from ml_collections import ConfigDict

from jaxft.cli.config_file import load_config
from jaxft.cli.overrides import PREFIX, names_of
from jaxft.cli.words import near
from jaxft.configs import base
from jaxft.errors import UserError

# Section -> the key that a person means by its name.
FIRST = {"data": "source", "model": "name", "optimizer": "name"}


def unknown(strays: Sequence[str], plain: Sequence[str], known: Collection[str]) -> UserError:
    """All words of a command that are unknown, each with the flag or the keys that may be meant.

    Args:
      strays: these words.
      plain: all words of the command, the verb first.
      known: the verb's flags.
    """
    keys = keys_by_name(_config_of(plain)) if "--config" in known else {}
    return UserError(
        "Unknown arguments:",
        [told(word, known, keys) for word in strays],
        f"`jaxft help {plain[0]}` lists the known ones.",
    )


def told(word: str, known: Collection[str], keys: Mapping[str, Sequence[str]]) -> str:
    """Name an unknown word, with the flag or the keys of the config that may be meant.

    Args:
      word: as it was typed.
      known: the verb's flags.
      keys: as `keys_by_name` gives them; {} where the verb takes no config.
    """
    flag = word.partition("=")[0]
    name = flag.lstrip("-").replace("-", "_")
    if not flag.startswith("-") or not name:
        return word
    if name in keys:
        return f"{word}: did you mean {_either(keys[name])}?"
    spelt = {other.lstrip("-").replace("-", "_"): other for other in known}
    if meant := near(name, spelt):
        return f"{word}: did you mean {spelt[meant]}?"
    if meant := near(name, keys):
        return f"{word}: did you mean {_either(keys[meant])}?"
    return word


def keys_by_name(config: ConfigDict) -> dict[str, list[str]]:
    """Name -> the keys of a config that a person may mean by it, those of phases where none is."""
    found: dict[str, list[str]] = {}
    for section, value in base.get_config().items():
        if not isinstance(value, ConfigDict):
            found.setdefault(section, []).append(section)
            continue
        if section in FIRST:
            found[section] = [f"{section}.{FIRST[section]}"]
        for name in value:
            if name != "name":
                found.setdefault(name, []).append(f"{section}.{name}")
    names = names_of(config)
    for name in base.phase():
        if name not in (*found, "name", "groups"):
            found[name] = [f"phases.{phase}.{name}" for phase in names]
    longer = map(_longer, config.phases)
    found["epochs"] = [f"phases.{name}.{key}" for name, key in zip(names, longer, strict=True)]
    return found


def _longer(phase: ConfigDict) -> str:
    """Name the key that makes a phase longer."""
    if phase.get("schedule") != "sgdr":
        return "epochs"
    return "max_cycles" if phase.get("cycles") == "until_overfit" else "cycles"


def _config_of(plain: Sequence[str]) -> ConfigDict:
    """Return the config that a command names, or the defaults where it names none that is right."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", nargs="?", default="")
    name = parser.parse_known_args(list(plain))[0].config
    try:
        config = load_config(name)
    except UserError:
        return base.get_config()
    return config if names_of(config) else base.get_config()


def _either(keys: Sequence[str]) -> str:
    *others, last = [PREFIX + key for key in keys]
    return f"{', '.join(others)} or {last}" if others else last
