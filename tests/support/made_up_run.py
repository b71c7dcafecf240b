"""A workdir as a run leaves it, made up: small files with everything that a page may show."""

import csv
import json
import math
from pathlib import Path

import numpy as np
from PIL import Image

PHASES = {"head": {"head": 0.01}, "full": {"early": 1e-4, "late": 1e-3, "head": 0.01}}
EPOCHS = 4
STEPS = 10  # an epoch
COLUMNS = ("file", "true", "predicted", "p_true", "p_predicted", "loss")


def write(folder: Path, classes=("cat", "dog", "owl"), valid=True) -> Path:
    """A finished run of two phases; of a third of the validation images the class is wrong."""
    (folder / "lr_find").mkdir(parents=True)
    save(folder / "config.json", config())
    save(folder / "classes.json", list(classes))
    save(folder / "data.json", {"classes": list(classes), "train": 80, "valid": 30, "digest": "ab"})
    save(folder / "weights.json", {"source": "imagenet", "sha256": "0123"})
    save(folder / "summary.json", summary())
    save_rows(folder / "metrics.jsonl", rows())
    save_rows(folder / "starts.jsonl", [start()])
    save(folder / "lr_find/full.json", curve())
    if valid:
        write_valid(folder / "valid", classes)
    return folder


def save(path, data):
    path.write_text(json.dumps(data))


def save_rows(path, rows):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def config():
    phases = [{"name": name, "groups": groups} for name, groups in PHASES.items()]
    return {
        "seed": 7,
        "data": {"source": "folder:pets"},
        "model": {"name": "r18"},
        "phases": phases,
    }


def rows():
    found = []
    for number, (phase, rates) in enumerate(PHASES.items()):
        for epoch in range(EPOCHS):
            at = EPOCHS * number + epoch + 1
            found.append(
                {
                    **{"phase": phase, "cycle": epoch // 2, "epoch": epoch, "step": 10 * epoch},
                    **{"global_step": STEPS * at, "trn_loss": 2.0 / at, "val_loss": 2.2 / at},
                    **{"accuracy": 1 - 0.5 / at, "lr": rates, "images_per_second": 100.0},
                    **{"seconds": 2.0, "input_wait": 0.25, "best": True},
                }
            )
    return found


def summary():
    best = {**rows()[-1], "image_size": 64}
    phases = [
        {
            **{
                "name": phase,
                "image_size": 64,
                "lr": 0.01,
                "lr_rule": "fall",
                "lr_reason": "falls",
            },
            **{"epochs": EPOCHS, "cycles": 2, "best_epoch": EPOCHS - 1, "trn_loss": 0.3},
            **{"val_loss": 0.4, "accuracy": 0.9, "ended_by": "overfit"},
            **({"drift": drift()} if phase == "full" else {}),
            "seconds": {"compile": 1.0, "input_wait": 2.0, "total": 10.0, "compute": 7.0},
        }
        for phase in PHASES
    ]
    keys = ("phase", "epoch", "trn_loss", "val_loss", "accuracy", "image_size")
    return {
        **{"accuracy": best["accuracy"], "val_loss": best["val_loss"], "seconds": 25.0},
        **{"ended_by": "overfit", "best": {key: best[key] for key in keys}, "best_by": "accuracy"},
        "baselines": {"logistic_regression": 0.8, "nearest_neighbours": 0.7},
        "advice": "Try a lower rate.",
        "bottleneck": {"phase": "full", "input_wait": 0.2, "remedy": "more cores"},
        "phases": phases,
    }


def drift():
    """Three measurements of a phase whose features move."""
    found = []
    for epoch, alike in ((0, 1.0), (2, 0.9), (4, 0.6)):
        groups = {"early": alike, "late": alike / 2 + 0.5 * (epoch == 0)}
        found.append(
            {
                **{"epoch": epoch, "images": 64, "valid_images": 30, "cosine": groups},
                **{"cka": groups, "accuracy": 0.9, "val_loss": 0.4, "calibration_error": 0.031},
                **{"old_head": {"accuracy": 0.8, "val_loss": 0.5}, "refitted_accuracy": 0.85},
                **{"head_norm": 65.432, "gradient_norm": 1234.5, "rise": 0.0},
            }
        )
    return found


def start():
    devices = {"platform": "gpu", "kind": "NVIDIA H100", "count": 2, "processes": 1}
    versions = {"jaxft": "0.2.0", "jax": "0.10.2"}
    ends = {"time": 1.7e9, "from_step": 0, "to_step": 80, "ended_by": "overfit"}
    return {**ends, "devices": devices, "versions": versions}


def curve():
    """A range test whose loss falls, then explodes, and two trials, of which one diverged."""
    rates = np.geomspace(1e-4, 1.0, 30)
    losses = 1.0 - 0.1 * np.arange(30) + np.exp(np.arange(30) - 20.0)
    flat = [1.0] * 30
    return {
        **{"lr": 0.01, "rule": "fall", "reason": "it falls", "rates": rates.tolist()},
        **{"losses": losses.tolist(), "unmoved": flat, "trend": (losses - 1).tolist()},
        "error": [0.05] * 30,
        "rules": {
            "fall": {"lr": 0.01, "reason": "it falls"},
            "steep": {"lr": 0.02, "reason": "steepest"},
            "valley": {"lr": None, "reason": "no valley"},
        },
        "trials": {"rates": [0.01, 0.02], "losses": [0.5, None]},
    }


def write_valid(folder, classes):
    folder.mkdir()
    count = len(classes)
    matrix = 7 * np.eye(count, dtype=int) + 3 * np.roll(np.eye(count, dtype=int), 1, axis=1)
    per_class = [
        {"class": name, "count": 10, "predicted": 10, "precision": 0.7, "recall": 0.7, "f1": 0.7}
        for name in classes
    ]
    pairs = [
        {"true": classes[row], "predicted": classes[(row + 1) % count], "count": 3}
        for row in range(count)
    ]
    bins = [
        {"low": 0.4, "high": 0.5, "count": 10, "confidence": 0.45, "accuracy": 0.3},
        {"low": 0.9, "high": 1.0, "count": 20, "confidence": 0.95, "accuracy": 0.9},
    ]
    scores = {
        **{"split": "valid", "weights": "best", "examples": 30, "tta": 0},
        **{"accuracy": summary()["accuracy"], "accuracy_interval": [0.8, 0.98]},
        **{"balanced_accuracy": 0.7, "loss": 0.9, "top_k": {"3": 1.0}},
        **{"per_class": per_class, "most_confused": pairs, "confusion": matrix.tolist()},
        "calibration": {
            **{"error": 0.08, "temperature": 1.4, "error_after": 0.02, "loss_after": 0.8},
            "bins": bins,
        },
    }
    save(folder / "metrics.json", scores)
    with open(folder / "wrong.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for name in classes:
            loss = f"{-math.log(0.1):.6g}"
            table.writerow((f"{name}/1.jpg", name, classes[0], "0.1", "0.8", loss))
    noise = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), np.uint8)
    for name in ("most_wrong", "least_sure", "surest_right", "confusion"):
        Image.fromarray(noise).save(folder / f"{name}.png")  # 3 MB, more than a page takes
