"""A run's model as one serialised StableHLO program, which JAX alone runs on any platform.

uint8 canvases [batch, canvas, canvas, 3] go in and probabilities [batch, classes] come out, for any
batch; the view, the normalisation and the weights are in the program. Products and convolutions ask
for the highest precision, which is float32 on every platform.
"""

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from jaxft.devices import platform
from jaxft.errors import UserError
from jaxft.export.network import NO_PLATFORM, Run, folded, probabilities
from jaxft.export.pillow import shrunk
from jaxft.export.subject import Subject
from jaxft.export.text import render
from jaxft.runtime import paths
from jaxft.runtime.version import VERSION
from jaxft.workdir.rows import write_json

PROGRAM, ABOUT = "model.jax_exported", "model.json"
PLATFORMS = ("cpu", "cuda", "tpu")
# What Pillow calls that which jaxft does to an image that is no square.


def demand(subject: Subject) -> None:
    """Raise UserError where the package that serialises programs is missing."""
    if importlib.util.find_spec("flatbuffers") is None:
        raise UserError(
            "JAX writes programs by flatbuffers, which is not installed",
            hint="Install it: pip install 'jaxft[stablehlo]'.",
        )


def write(subject: Subject, folder: Path) -> Run:
    """Write the program, and a JSON file about it; return a function that reads and runs it."""
    exported = traced(subject)
    content = exported.serialize()
    paths.write(folder / PROGRAM, lambda file: file.write(content))
    write_json(folder / ABOUT, about(subject, exported))
    return reader(folder)


def reader(folder: Path) -> Run:
    """Return a function that reads the program and runs it on this machine."""

    def run(canvases: np.ndarray) -> np.ndarray:
        program = export.deserialize(bytearray(paths.read(folder / PROGRAM)))
        return np.asarray(jax.jit(program.call)(canvases))

    return run


def traced(subject: Subject) -> export.Exported:
    """Trace the model from canvases to probabilities, for any batch and all of PLATFORMS."""
    with platform.targeting(*NO_PLATFORM), jax.default_matmul_precision("highest"):
        answer = probabilities(subject, folded(subject))
        shape = export.symbolic_shape(f"batch, {subject.canvas}, {subject.canvas}, 3")
        canvases = jax.ShapeDtypeStruct(shape, jnp.uint8)
        return export.export(jax.jit(answer), platforms=PLATFORMS)(canvases)


def about(subject: Subject, exported: export.Exported) -> dict[str, Any]:
    """Facts about the program, as JSON data."""
    return {
        "program": PROGRAM,
        "input": {"dtype": "uint8", "shape": ["batch", subject.canvas, subject.canvas, 3]},
        "output": {"dtype": "float32", "shape": ["batch", len(subject.classes)]},
        "classes": list(subject.classes),
        "canvas": subject.canvas,
        "image_size": subject.image_size,
        "fit": subject.fit,
        "interpolation": subject.settings.data.interpolation,
        "platforms": list(exported.platforms),
        "calling_convention": exported.calling_convention_version,
        "versions": {"jaxft": VERSION, "jax": importlib.metadata.version("jax")},
    }


def usage(subject: Subject) -> str:
    """Return Markdown on how JAX alone runs the program."""
    return render(
        "stablehlo.md.jinja", platforms=PLATFORMS, canvas=subject.canvas, shrunk=shrunk(subject)
    )
