"""Readers of folders, one file of which is damaged at a time: a data set of TFDS, and a workdir."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import changes
import drawn_images
import made_up_run
import orbax.checkpoint as ocp
from fuzz import Reader
from hypothesis import strategies as st

from jaxft.config.plain import as_dict
from jaxft.configs import quickstart
from jaxft.data.images.unreadable import UnreadableImage
from jaxft.data.prepare.job import Form
from jaxft.data.prepare.prepare import prepare
from jaxft.data.sources.registry import open_dataset
from jaxft.errors import UserError
from jaxft.evaluation.restore import read_workdir
from jaxft.models.weights.preprocessing import RUN_FILE
from jaxft.report.page.page import page
from jaxft.runtime.digests import of_json
from jaxft.workdir import cursor, same_config
from jaxft.workdir.history import read_history
from jaxft.workdir.rows import DIGEST, write_document

DOCUMENTS = ("summary.json", "data.json", "weights.json")  # which runs seal
CURSOR = "checkpoints/3/cursor/metadata"


def tfds(folder: Path) -> Reader:
    """A prepared data set: its descriptions, its names of classes, its records."""
    drawn_images.draw_folder(folder / "images")
    place = folder / "set"
    prepare(f"folder:{folder / 'images'}", str(place), Form(8, "jpeg", 90), 1)
    names = [path.name for path in place.iterdir() if path.suffix != ".csv"]
    files = {name: changes.of_bytes([(place / name).read_bytes()]) for name in names}
    for name in names:
        if name.endswith(".json"):
            good = json.loads((place / name).read_text())
            files[name] = files[name] | changes.of_json(good, without=DIGEST)

    def read() -> None:
        data = open_dataset(f"tfds_dir:{place}")
        for number in (0, len(data.train) - 1):
            data.train.read(number)

    return Reader(changes.of_one(files), changes.within(place, read), (UserError, UnreadableImage))


def workdir(folder: Path) -> Reader:
    """The files of a run that going on and prediction read back."""
    place, files, plain = _run(folder)

    def read() -> None:
        cursor.newest(place)
        read_history(place)
        same_config.changes(place, plain)
        read_workdir(place)

    return Reader(changes.of_one(files), changes.within(place, read), (UserError,))


def run_page(folder: Path) -> Reader:
    """The files of a run that its page shows."""
    place, files, _ = _run(folder)
    read = changes.within(place, lambda: page(place))
    return Reader(changes.of_one(files), read, (UserError,))


def _run(folder: Path) -> tuple[Path, dict[str, st.SearchStrategy[bytes]], Any]:
    """A workdir, its files, damaged or of a run that began without digests, and its config."""
    place = made_up_run.write(folder / "run")
    plain = as_dict(quickstart.get_config())
    made_up_run.save(place / "config.json", plain)
    expected = {"mean": [1.0] * 3, "std": [2.0] * 3, "image_size": 32}
    made_up_run.save(place / RUN_FILE, expected)
    for name in DOCUMENTS:
        write_document(place / name, json.loads((place / name).read_text()))
    _write_cursor(place)
    files: dict[str, st.SearchStrategy[bytes]] = {
        name: changes.of_bytes([(place / name).read_bytes()])
        for name in (*DOCUMENTS, "metrics.jsonl", "starts.jsonl", "valid/metrics.json", CURSOR)
    }
    documents = {"config.json": plain, "classes.json": ["cat", "dog"], RUN_FILE: expected}
    for name, good in documents.items():
        files[name] = changes.of_json(good) | changes.of_bytes([(place / name).read_bytes()])
    return place, files, plain


def _write_cursor(place: Path) -> None:
    item: Mapping[str, Any] = {**json.loads(json.dumps(vars(cursor.Cursor()), default=vars))}
    with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as writer:
        writer.save(place / "checkpoints/3/cursor", {**item, "digest": of_json(item)})
