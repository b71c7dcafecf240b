"""A run's model as a model repository of the Triton Inference Server.

    NAME/config.pbtxt, NAME/labels.txt, NAME/1/model.onnx

NAME is the network's. A folder of several models is made by putting such folders side by side.
"""

from pathlib import Path

from jaxft.export import onnx
from jaxft.export.network import Run
from jaxft.export.pillow import shrunk
from jaxft.export.subject import Subject
from jaxft.export.text import render
from jaxft.runtime import paths

CONFIG, LABELS, VERSION = "config.pbtxt", "labels.txt", "1"
MOST = 32  # images of several requests that the server may put into one batch

demand = onnx.demand


def write(subject: Subject, folder: Path) -> Run:
    """Write the repository; return a function that reads and runs its model."""
    place = folder / subject.model.name
    version = place / VERSION
    version.mkdir(parents=True)
    answer = onnx.write(subject, version)
    _write_text(place / CONFIG, config(subject))
    _write_text(place / LABELS, labels(subject))
    return answer


def _write_text(file: Path, text: str) -> None:
    paths.write(file, lambda target: target.write(text.encode(errors="replace")))


def config(subject: Subject) -> str:
    """Return config.pbtxt, a ModelConfig of Triton in protobuf's text format."""
    return render(
        "config.pbtxt.jinja",
        name=subject.model.name,
        most=MOST,
        input=onnx.INPUT,
        output=onnx.OUTPUT,
        canvas=subject.canvas,
        classes=len(subject.classes),
        labels=LABELS,
    )


def labels(subject: Subject) -> str:
    """Return labels.txt: a class's name in each line, in the order of the probabilities."""
    return "".join(" ".join(name.split()) + "\n" for name in subject.classes)


def usage(subject: Subject) -> str:
    """Return Markdown on how Triton serves the folder."""
    return render(
        "triton.md.jinja",
        name=subject.model.name,
        input=onnx.INPUT,
        output=onnx.OUTPUT,
        canvas=subject.canvas,
        classes=len(subject.classes),
        shrunk=shrunk(subject),
    )
