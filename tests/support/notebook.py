"""The cells of a notebook, run in this process.

    python tests/support/notebook.py docs/tutorial.ipynb

runs all of them in a new folder, and writes what they print and return into the notebook, as
Jupyter would.
"""

import ast
import base64
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from pprint import pformat
from typing import Any

Output = dict[str, Any]


def read(file: Path) -> dict[str, Any]:
    """A notebook as JSON has it."""
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells that are run."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run(notebook: dict[str, Any]) -> Iterator[list[Output]]:
    """Run one cell after the other in the current folder; the outputs of each."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(code_cells(notebook), 1):
        yield _outputs("".join(cell["source"]), names, number)


def _outputs(source: str, names: dict[str, Any], number: int) -> list[Output]:
    *before, last = ast.parse(source).body
    value, printed = None, io.StringIO()
    with contextlib.redirect_stdout(printed):
        if isinstance(last, ast.Expr):
            exec(compile(ast.Module(before, []), "cell", "exec"), names)
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        else:
            exec(compile(ast.Module([*before, last], []), "cell", "exec"), names)
    found: list[Output] = []
    if text := printed.getvalue():
        found.append({"name": "stdout", "output_type": "stream", "text": text.splitlines(True)})
    if value is not None:
        result = {"data": _shown(value), "execution_count": number, "metadata": {}}
        found.append({**result, "output_type": "execute_result"})
    return found


def _shown(value: Any) -> dict[str, Any]:
    """A value as a notebook shows it, by MIME type."""
    text = {"text/plain": pformat(value, width=100, sort_dicts=False).splitlines(True)}
    if not hasattr(value, "_repr_png_"):
        return text
    return {"image/png": base64.b64encode(value._repr_png_()).decode(), **text}


def main(name: str) -> None:
    """Run a notebook and write it."""
    file = Path(name).resolve()
    notebook = read(file)
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        for number, (cell, outputs) in enumerate(
            zip(code_cells(notebook), run(notebook), strict=True), 1
        ):
            cell.update(execution_count=number, outputs=outputs)
    file.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
