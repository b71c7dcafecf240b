"""The request of a folder, such as a sweep's: what is in it belongs to these settings alone."""

from collections.abc import Mapping
from typing import Any

from jaxft.errors import UserError
from jaxft.runtime.paths import AnyPath
from jaxft.workdir import config_keys
from jaxft.workdir.rows import read_json, write_json

REQUEST = "request.json"
ALLOWED = (".lock", ".lease.json")  # of a folder that is empty but for them


def check(folder: AnyPath, request: Mapping[str, Any], kind: str) -> None:
    """Raise UserError unless the folder is new, empty, or holds work on the same request.

    Args:
      folder: a --workdir.
      request: sections of settings, `config` among them; it may lack sections of the one that is
        there, which are not compared.
      kind: of the work: "sweep".
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; --workdir should be a directory")
    names = sorted(p.name for p in folder.iterdir()) if folder.exists() else []
    others = [name for name in names if name not in ALLOWED]
    if not others:
        return
    if REQUEST not in others:
        raise UserError(
            f"{folder} holds something else than a {kind}:",
            others,
            "Choose another --workdir; nothing in this one was changed.",
        )
    saved = read_json(folder / REQUEST)
    saved["config"] = config_keys.with_free_keys(saved.get("config"))
    found = {
        section: config_keys.differences(saved.get(section), request[section])
        for section in request
    }
    found["config"] = {
        key: line for key, line in found["config"].items() if key not in config_keys.FREE_KEYS
    }
    lines = [f"{section}.{line}" for section in found for line in found[section].values()]
    if lines:
        raise UserError(
            f"{folder} holds a {kind} of other settings:",
            lines,
            "Choose another --workdir, or give the same settings to go on with that one.",
        )


def begin(folder: AnyPath, request: Mapping[str, Any]) -> None:
    """Write down what the work is on, unless that is there."""
    if not (folder / REQUEST).exists():
        write_json(folder / REQUEST, request)
