"""JSON that every reader takes: a number that is not finite is null."""

import json
import math
from typing import Any


def dumps(data: Any, **form: Any) -> str:
    """Return JSON text; `form` is json.dumps's.

    Python writes NaN and Infinity, which are no JSON to browsers, jq or pandas.
    """
    return json.dumps(finite(data), allow_nan=False, **form)


def finite(data: Any) -> Any:
    """Return data with None in place of each number that is not finite."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [finite(value) for value in data]
    return data
