"""Keys of a run's config that may change when it goes on, and the comparison of two configs."""

import json
import re
from typing import Any

from jaxft.config.plain import as_dict
from jaxft.configs import base

# Keys that change neither the numbers of a run nor what its files mean.
FREE_KEYS = (
    "cache_dir",
    "checkpoint_minutes",
    "checkpoint_keep",
    "checkpoint_keep_every",
    "track",
    "drift_images",
    *("on_nonfinite", "nonfinite_skips", "nonfinite_rewinds"),  # not before a loss is not finite
    "data.memory_gb",
    "data.cache_memory_gb",
    "data.threads",
    "data.workers",
    "plan.examples",
    "plan.valid_examples",
    "plan.classes",
)
# Nor this one, in a phase whose first step is yet to come.
FREE_BEFOREHAND = re.compile(r"phases\[(\d+)\]\.microbatches")
# Those with which a run may go on, by the law of going_on.py.
GOING_ON = re.compile(r"phases\[(\d+)\]\.(lr|epochs|cycles|max_cycles)|overfit\.patience")
# Keys that came later and change nothing by default: runs without them did what their defaults do.
LATER_KEYS = (
    *("average_cycles", "data.fit"),
    *("augment.policy", "augment.policy_ops", "augment.policy_magnitude"),
)


def may_change(key: str) -> bool:
    """Tell if config.json may hold another value than it did when a checkpoint was written.

    The data may be elsewhere by now: they have digests of their own.
    """
    known = key in FREE_KEYS or key == "data.source"
    return known or any(pattern.fullmatch(key) for pattern in (FREE_BEFOREHAND, GOING_ON))


def differences(saved: Any, plain: Any, where: str = "there") -> dict[str, str]:
    """Return the keys whose values differ in two JSON data, each with a line on it.

    Args:
      saved, plain: the former and the present ones; a part of a list has its number for a key.
      where: the former are, for the line.
    """
    before, now = _flat(saved), _flat(json.loads(json.dumps(plain)))
    return {
        key: f"{key}: {before.get(key, 'absent')!r} {where}, {now.get(key, 'absent')!r} now"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    }


def with_free_keys(plain: Any) -> Any:
    """Add the FREE_KEYS and LATER_KEYS that a run's config lacks, at their defaults.

    What is no config, or a section that is none, stays as it is, for others to report.
    """
    return _filled(plain, as_dict(base.get_config()))


def _filled(plain: Any, usual: Any, path: str = "") -> Any:
    if not isinstance(plain, dict) or not isinstance(usual, dict):
        return plain
    added = (*FREE_KEYS, *LATER_KEYS)
    missing = {key: value for key, value in usual.items() if f"{path}{key}" in added}
    inside = {key: _filled(plain[key], usual.get(key), f"{path}{key}.") for key in plain}
    return {**missing, **inside}


def _flat(data: Any, path: str = "") -> dict[str, Any]:
    """Nested JSON data as key path -> value."""
    if isinstance(data, dict):
        pairs = [(f"{path}.{key}" if path else key, value) for key, value in data.items()]
    elif isinstance(data, list):
        pairs = [(f"{path}[{index}]", value) for index, value in enumerate(data)]
    else:
        return {path: data}
    return {key: leaf for name, value in pairs for key, leaf in _flat(value, name).items()}
