"""Print pip constraints that pin every dependency in pyproject.toml to its lower bound."""

import itertools
import re
import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
groups = [project["dependencies"], *project["optional-dependencies"].values()]
stated = [r for r in itertools.chain(*groups) if not r.startswith(project["name"])]
bounds = [re.fullmatch(r"([\w.-]+)(?:\[.*\])?>=([\w.]+)", requirement) for requirement in stated]
without = [requirement for requirement, bound in zip(stated, bounds, strict=True) if not bound]
if without:
    sys.exit(f"no lower bound, or more than one: {', '.join(without)}")
print("\n".join(sorted({f"{bound[1]}=={bound[2]}" for bound in bounds if bound})))
