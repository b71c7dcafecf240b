"""Weights in several files: an index of shards, or one shard, is told from a whole file."""

import json
import re

from jaxft.errors import UserError
from jaxft.runtime import paths
from jaxft.runtime.paths import AnyPath

INDEX = ".index.json"
JOIN = "Save the model in one file (save_pretrained of transformers: max_shard_size='100GB')."


def demand_whole(path: AnyPath) -> None:
    """Raise UserError where a file's name says that it is an index of shards, or one of several."""
    if path.name.endswith(INDEX):
        raise _refusal(path)
    part = re.search(r"-(\d+)-of-(\d+)\.\w+$", path.name)
    if part and int(part[2]) > 1:
        raise UserError(f"{path} is one of {int(part[2])} shards of a set of weights", hint=JOIN)


def _refusal(path: AnyPath) -> UserError:
    title = f"{path} is an index of shards, not a file of weights"
    try:
        files = sorted(set(json.loads(paths.read(path))["weight_map"].values()))
    except (OSError, ValueError, RecursionError, AttributeError, KeyError, TypeError):
        return UserError(title, hint=JOIN)
    if len(files) == 1:
        return UserError(title, hint=f"Give its one file: file:{path.parent / str(files[0])}")
    return UserError(title, [f"its shards: {', '.join(map(str, files))}"[:400]], JOIN)
