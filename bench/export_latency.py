"""Exported models on this CPU: latency of one image, throughput of a batch.

    python bench/export_latency.py [--model=efficientnet_lite0] [--weights=imagenet]
        [--image-size=224] [--classes=102] [--batch=32] [--rounds=30]

The same weights and uint8 canvases go through jaxft's own compiled function, the StableHLO program
and the ONNX graph by ONNX Runtime, in turn (A B C A B C), each with all cores of this process. A
call is one image, or one batch; it ends when the probabilities are NumPy's. Prints a table and one
JSON line: milliseconds of a call by median and 95th percentile, images in a second by the median
call of a batch, and the largest difference of probabilities from jaxft's.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from jaxft.config import load
from jaxft.configs import base
from jaxft.export import network, onnx, stablehlo
from jaxft.export.subject import Subject
from jaxft.materials.model import create_model, open_model

Answer = Callable[[np.ndarray], np.ndarray]
WARM_UP = 3


def read() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--weights", default="imagenet", help="or none, or file:PATH")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--classes", type=int, default=102)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=30)
    return parser.parse_args()


def open_subject(args: argparse.Namespace) -> Subject:
    """The model with its weights and a new head of jaxft's usual kind."""
    config = base.get_config()
    config.data.source, config.data.image_size = "digits", args.image_size
    config.model.name, config.model.weights = args.model, args.weights
    settings = load.read(config)
    classes = tuple(f"class {number}" for number in range(args.classes))
    opened = open_model(settings, classes)
    native = replace(settings, model=replace(settings.model, conv="native"))
    net = create_model(native, args.classes, opened.model.preprocessing)
    return Subject(settings, classes, net, jax.tree.map(np.asarray, opened.weights), {})


def own(subject: Subject) -> Answer:
    """jaxft's function, with its own lowerings for this CPU."""
    net = create_model(subject.settings, len(subject.classes), subject.model.preprocessing)
    mine = subject._replace(model=net)
    answer = jax.jit(network.probabilities(mine, network.folded(mine)))
    return lambda canvases: np.asarray(answer(canvases))


def program(subject: Subject) -> Answer:
    exported = jax.export.deserialize(bytearray(stablehlo.traced(subject).serialize()))
    answer = jax.jit(exported.call)
    return lambda canvases: np.asarray(answer(canvases))


def graph(subject: Subject) -> Answer:
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        onnx.write(subject, Path(folder))
        session = onnxruntime.InferenceSession(
            Path(folder) / onnx.FILE, providers=["CPUExecutionProvider"]
        )
    return lambda canvases: session.run([onnx.OUTPUT], {onnx.INPUT: canvases})[0]


def timed(answers: dict[str, Answer], canvases: np.ndarray, rounds: int) -> dict[str, np.ndarray]:
    """Milliseconds of each call, the engines in turn."""
    found: dict[str, list[float]] = {name: [] for name in answers}
    for number in range(WARM_UP + rounds):
        for name, answer in answers.items():
            begun = time.perf_counter()
            answer(canvases)
            if number >= WARM_UP:
                found[name].append(1e3 * (time.perf_counter() - begun))
    return {name: np.asarray(times) for name, times in found.items()}


def main() -> None:
    args = read()
    subject = open_subject(args)
    answers = {"jaxft": own(subject), "stablehlo": program(subject), "onnx": graph(subject)}
    shape = (args.batch, subject.canvas, subject.canvas, 3)
    canvases = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    one, many = (timed(answers, some, args.rounds) for some in (canvases[:1], canvases))
    wanted = answers["jaxft"](canvases)
    print(f"| | one image: median, p95 | {args.batch} images: images/s | difference |")
    print("|---|---|---|---|")
    lines = {}
    for name, answer in answers.items():
        median, late = np.percentile(one[name], [50, 95])
        rate = args.batch / np.median(many[name]) * 1e3
        off = float(np.abs(answer(canvases) - wanted).max())
        print(f"| {name} | {median:.1f} ms, {late:.1f} ms | {rate:.0f} | {off:.0e} |")
        lines[name] = {"median_ms": median, "p95_ms": late, "images_s": rate, "difference": off}
    about = {**vars(args), "cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0]}
    print(json.dumps({**about, "engines": lines}))


if __name__ == "__main__":
    main()
