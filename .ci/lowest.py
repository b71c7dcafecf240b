"""Print pip constraints that pin every dependency in pyproject.toml to its lower bound."""

import itertools
import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
groups = [project["dependencies"], *project["optional-dependencies"].values()]
pins = {
    f"{name}=={version}"
    for requirement in itertools.chain(*groups)
    for name, version in re.findall(r"^([\w.-]+)(?:\[.*\])?>=([\w.]+)$", requirement)
}
print("\n".join(sorted(pins)))
