"""Markdown from the templates beside this file."""

from pathlib import Path
from typing import Any

import jinja2

from jaxft.runtime import plain_json

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, /, **values: Any) -> str:
    """Fill in a template; its filter `cell` is for text of others, `json` for data in YAML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=False,  # it is no HTML
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cell": cell, "json": as_json}
    return environment.get_template(template).render(values).rstrip() + "\n"


def cell(text: Any) -> str:
    """Return text as Markdown shows it as it is, also in a table."""
    told = " ".join(str(text).split())
    for mark in "\\`*_[]<>|#":
        told = told.replace(mark, f"\\{mark}")
    return told


def as_json(data: Any) -> str:
    """Return data as JSON in one line, which is YAML, too."""
    return plain_json.dumps(data, ensure_ascii=False)
