"""A run's model as an ONNX file, which ONNX Runtime and many other engines run.

uint8 canvases `images` [batch, canvas, canvas, 3] go in and `probabilities` [batch, classes] come
out, for any batch; the view, the normalisation and the weights are in the graph, BatchNorm in the
kernels. The file's metadata holds what a program needs to know to feed it.
"""

import importlib.util
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr

from jaxft.devices import platform
from jaxft.errors import UserError
from jaxft.export.network import NO_PLATFORM, Run, folded, logits
from jaxft.export.onnx_nodes import Graph, join
from jaxft.export.onnx_translation import translate
from jaxft.export.pillow import shrunk
from jaxft.export.subject import Subject
from jaxft.export.text import render
from jaxft.runtime import paths
from jaxft.runtime.version import VERSION

FILE = "model.onnx"
INPUT, OUTPUT, BATCH = "images", "probabilities", "batch"
OPSET = 18  # the first whose Resize takes the sizes of some axes alone
IR_VERSION = 8  # of the time of that opset
PACKAGES = ("onnx", "onnxruntime")


def demand(subject: Subject) -> None:
    """Raise UserError where a package is missing."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"ONNX needs {' and '.join(missing)}, not installed here",
            hint="Install them: pip install 'jaxft[onnx]'.",
        )


def write(subject: Subject, folder: Path) -> Run:
    """Write model.onnx; return a function that reads and runs it."""
    import onnx

    made = model(subject)
    onnx.checker.check_model(made, full_check=True)
    content = made.SerializeToString()
    paths.write(folder / FILE, lambda file: file.write(content))
    return reader(folder)


def reader(folder: Path) -> Run:
    """Return a function that reads model.onnx and runs it by ONNX Runtime on this CPU."""

    def run(canvases: np.ndarray) -> np.ndarray:
        import onnxruntime

        session = onnxruntime.InferenceSession(
            paths.read(folder / FILE), providers=["CPUExecutionProvider"]
        )
        return np.asarray(session.run([OUTPUT], {INPUT: canvases})[0])

    return run


def model(subject: Subject) -> Any:
    """Return the model as onnx's ModelProto."""
    from onnx import TensorProto, helper, numpy_helper

    graph = drawn(subject)
    nodes = [
        helper.make_node(kind, inputs, [output], name=output, **attributes)
        for kind, inputs, output, attributes in graph.nodes
    ]
    tensor = helper.make_tensor_value_info
    canvases = tensor(INPUT, TensorProto.UINT8, [BATCH, subject.canvas, subject.canvas, 3])
    answers = tensor(OUTPUT, TensorProto.FLOAT, [BATCH, len(subject.classes)])
    constants = [numpy_helper.from_array(array, name) for name, array in graph.constants.items()]
    made = helper.make_model(
        helper.make_graph(nodes, subject.model.name, [canvases], [answers], constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="jaxft",
        producer_version=VERSION,
    )
    helper.set_model_props(made, metadata(subject))
    return made


def metadata(subject: Subject) -> dict[str, str]:
    """Return facts about the model, each as JSON, or as a word."""
    expected = subject.model.preprocessing
    return {
        "classes": json.dumps(subject.classes, ensure_ascii=False),
        "canvas": str(subject.canvas),
        "image_size": str(subject.image_size),
        "fit": subject.fit,
        "interpolation": subject.settings.data.interpolation,
        "mean": json.dumps(expected.mean),
        "std": json.dumps(expected.std),
        "jaxft": VERSION,
    }


def drawn(subject: Subject) -> Graph:
    """Return the graph from canvases to probabilities.

    Raises:
      UserError: the model has an operation that there is no translation for.
    """
    graph = Graph()
    (answer,) = translate(graph, traced(subject), [_view(graph, subject.image_size)])
    assert isinstance(answer, str)
    graph.add("Softmax", answer, output=OUTPUT, axis=1)
    return join(graph)


def _view(graph: Graph, image_size: int) -> str:
    """Add what `evaluate_view` computes: the whole canvas at the image size, in 0..1."""
    pixels = graph.add("Cast", INPUT, to=1)  # float32
    canvas = graph.add("Transpose", pixels, perm=(0, 3, 1, 2))
    sizes = graph.keep(np.asarray([image_size, image_size], np.int64))
    view = graph.add(
        "Resize",
        canvas,
        "",
        "",
        sizes,
        axes=(2, 3),
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )
    return graph.add("Mul", view, graph.keep(np.asarray(1 / 255, np.float32)))


def traced(subject: Subject) -> ClosedJaxpr:
    """Trace the model from a view in 0..1, of batch 1, to logits; the weights are constants."""
    size = subject.image_size
    view = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    with platform.targeting(*NO_PLATFORM):
        return jax.make_jaxpr(logits(subject, folded(subject)))(view)


def usage(subject: Subject) -> str:
    """Return Markdown on how ONNX Runtime runs the file."""
    return render("onnx.md.jinja", file=FILE, canvas=subject.canvas, shrunk=shrunk(subject))
