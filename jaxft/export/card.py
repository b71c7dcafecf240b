"""The card of an exported model: README.md, with the head that the Hugging Face hub reads."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxft.export.subject import Subject
from jaxft.export.text import render
from jaxft.report.page.contents import Contents
from jaxft.runtime import paths
from jaxft.runtime.version import VERSION

FILE = "README.md"
TASK = "image-classification"
ROWS = 100  # classes in the table
COLUMNS = ("validation images", "precision", "recall")
SEEN = {
    "crop": "all of an image's shorter side and the middle of the longer one",
    "squash": "the whole image, squashed to a square",
    "pad": "the whole image, padded to a square",
}
UNMEASURED = "The run has left none for these weights."


class Section(NamedTuple):
    """A format's part of the card."""

    name: str
    usage: str
    difference: float


class About(NamedTuple):
    """Facts that are for all formats.

    `found` is what the run's workdir holds, without `scores` where its metrics are of other
    weights; `told` are words for the images that the formats were compared on.
    """

    subject: Subject
    found: Contents
    told: str


def write(folder: Path, name: str, about: About, sections: Sequence[Section]) -> None:
    """Write the card of a model of this name."""
    text = card(name, about, sections)
    paths.write(folder / FILE, lambda file: file.write(text.encode(errors="replace")))


def card(name: str, about: About, sections: Sequence[Section]) -> str:
    """Return the card's Markdown."""
    subject, found, told = about
    rows = class_rows(subject.classes, found.scores)
    return render(
        "card.md.jinja",
        head=head(name, subject, found, [section.name for section in sections]).items(),
        name=name,
        classes=subject.classes,
        origin=origin(subject),
        data=data(subject, found),
        columns=COLUMNS if found.scores else (),
        rows=rows[:ROWS],
        more=max(len(rows) - ROWS, 0),
        metrics=metrics(found.scores),
        examples=found.scores.get("examples"),
        unmeasured=UNMEASURED,
        image_size=subject.image_size,
        seen=SEEN[subject.fit],
        sections=sections,
        told=told,
    )


def head(name: str, subject: Subject, found: Contents, formats: Sequence[str]) -> dict[str, Any]:
    """Return what the hub reads, by its keys; a key whose value nobody knows is left out."""
    known = {
        "license": subject.origin.get("license"),
        "library_name": "timm" if "timm" in formats else "jax",
        "pipeline_tag": TASK,
        "tags": [TASK, "jaxft", *formats],
        "base_model": subject.origin.get("repository"),
        "datasets": [source(subject)],
        "metrics": ["accuracy"],
        "model-index": [_index(name, subject, found.scores)] if found.scores else None,
    }
    return {key: value for key, value in known.items() if value}


def source(subject: Subject) -> str:
    """Return the name of the data, without the folders that it lies in."""
    _, _, place = subject.settings.data.source.rpartition(":")
    return place.rstrip("/").rpartition("/")[2].rpartition("\\")[2]


def _index(name: str, subject: Subject, scores: Mapping[str, Any]) -> dict[str, Any]:
    told = source(subject)
    kinds = {"accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy", "loss": "Loss"}
    return {
        "name": name,
        "results": [
            {
                "task": {"type": TASK},
                "dataset": {"name": told, "type": told, "split": "validation"},
                "metrics": [
                    {"type": kind, "name": text, "value": round(scores[kind], 4)}
                    for kind, text in kinds.items()
                ],
            }
        ],
    }


def origin(subject: Subject) -> str:
    """Describe in a sentence what the model is and what it began with."""
    weights = subject.origin.get("repository") or subject.origin.get("file")
    begun = f"from `{weights}`" if weights else "from random weights"
    licence = subject.origin.get("license") or "not stated where they came from"
    told = f" The licence of those weights: {licence}." if weights else ""
    return (
        f"The network is {subject.model.name}, fine-tuned {begun} by jaxft {VERSION}, "
        f"at {subject.image_size} pixels.{told}"
    )


def data(subject: Subject, found: Contents) -> str:
    """Describe in a sentence what the model was trained on."""
    counts = [found.data.get(split) for split in ("train", "valid")]
    if None in counts:
        return f"Trained on `{source(subject)}`."
    train, valid = counts
    return f"Trained on {train} images of `{source(subject)}`; {valid} others were for validation."


def class_rows(classes: Sequence[str], scores: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return a row of COLUMNS for every class, of its name alone without scores."""
    if not scores:
        return [(name,) for name in classes]
    return [
        (row["class"], str(row["count"]), share(row["precision"]), share(row["recall"]))
        for row in scores["per_class"]
    ]


def metrics(scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return names and values of metrics; none without scores."""
    if not scores:
        return []
    low, high = map(share, scores["accuracy_interval"])
    calibration = scores["calibration"]
    found = calibration["temperature"]
    return [
        ("accuracy", f"{share(scores['accuracy'])} (95% interval by Wilson: {low} to {high})"),
        ("balanced accuracy", share(scores["balanced_accuracy"])),
        *((f"among the {k} most probable", share(hit)) for k, hit in scores["top_k"].items()),
        ("loss (cross-entropy)", f"{scores['loss']:.4f}"),
        ("calibration error (15 bins)", share(calibration["error"])),
        *([("temperature that mends it best", f"{found:.2f}")] if found else []),
    ]


def share(value: float | None) -> str:
    """Write a share in percent; one that nobody knows as a dash."""
    return "-" if value is None else f"{value:.1%}"
