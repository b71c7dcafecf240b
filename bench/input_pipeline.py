"""JPEG files to augmented, normalised batches, beside torchvision's ImageFolder and DataLoader.

    python bench/input_pipeline.py --peer-python=PATH [--images=1000] [--rounds=5]

PATH is an interpreter that has torch, torchvision and Pillow, and OpenCV if that is to be timed,
too. The files are 500 x 375 JPEGs (quality 90), crops of the two photos that scikit-learn carries.
`jaxft prepare --format=raw` makes two sets of them, of shorter side 256 (its default) and 247 (the
canvas, so that nothing is left to resize); these are jaxft's `raw256` and `raw247`.

Three questions, one core each for the first two and all of `--threads` for the third:
  decode  a file's bytes to pixels: jaxft, Pillow, OpenCV
  canvas  bytes to the uint8 square of 247 pixels that a host hands over: jaxft, and Pillow's
          open, convert, resize (bilinear), crop
  chain   files to augmented and normalised batches of 64 at 224 pixels. jaxft: decoded and
          resized in every epoch (nothing kept), and from memory, where it keeps what fits after
          the first. torchvision with 0, 1 and 2 workers, the best of which counts, and two lists
          of transforms: `same`, what comes closest to jaxft's (Resize 247, three of four through
          RandomRotation 10 degrees, bilinear, RandomResizedCrop 224 of a square of at least 1/1.21
          of the area, RandomHorizontalFlip, ColorJitter 0.05 of brightness and contrast), and
          `short`, the usual RandomResizedCrop 224 and RandomHorizontalFlip alone; then ToTensor
          and Normalize.

Both sides run as processes of their own, in turn, A B A B. Prints one JSON line; a ratio is jaxft's
images per second over the peer's.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import side_by_side
from side_by_side import Passes, Side

CANVAS, SIZE, BATCH = 247, 224, 64
PREPARED = (256, CANVAS)  # shorter sides of the raw sets
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ONE_CORE = 200  # images that a pass on one core takes


def draw(folder: Path, images: int, size: tuple[int, int] = (500, 375)) -> None:
    """FOLDER/PHOTO/NUMBER.jpg: crops of scikit-learn's two photos, scaled to `size` pixels."""
    from importlib.resources import files

    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    for name in ("china", "flower"):
        photo = Image.open(str(files("sklearn.datasets") / "images" / f"{name}.jpg"))
        (folder / name).mkdir(parents=True)
        for number in range(images // 2):
            width = int(random.integers(320, 568))
            height = width * 3 // 4
            left, top = random.integers(photo.width - width), random.integers(photo.height - height)
            box = (left, top, left + width, top + height)
            scaled = photo.resize(size, Image.Resampling.BICUBIC, box)
            scaled.save(folder / name / f"{number:04d}.jpg", quality=90)


def prepare(folder: Path) -> None:
    """FOLDER/raw256 and so on: what `jaxft prepare` makes of FOLDER/files."""
    for side in PREPARED:
        made = [f"--output={folder}/raw{side}", f"--shorter-side={side}", "--format=raw"]
        command = [sys.executable, "-m", "jaxft", "prepare", f"--source=folder:{folder}/files"]
        done = subprocess.run([*command, *made], stdout=sys.stderr, check=False)
        if done.returncode:
            sys.exit(done.returncode)


def contents(data: str) -> list[bytes]:
    """The first files' bytes."""
    return [path.read_bytes() for path in sorted(Path(data, "files").glob("*/*.jpg"))[:ONE_CORE]]


def torch_sides(options: argparse.Namespace) -> tuple[dict, Passes]:
    """Pillow, OpenCV and torchvision."""
    import numpy as np
    import PIL
    import torch
    import torchvision
    from PIL import Image
    from torch.utils.data import DataLoader
    from torchvision import transforms as T

    files = contents(options.data)

    def decode() -> None:
        for data in files:
            np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def canvas() -> None:
        for data in files:
            image = Image.open(io.BytesIO(data)).convert("RGB")
            scale = CANVAS / min(image.size)
            size = tuple(round(length * scale) for length in image.size)
            image = image.resize(size, Image.Resampling.BILINEAR)
            left = (image.width - CANVAS) // 2
            np.asarray(image.crop((left, 0, left + CANVAS, CANVAS)))

    found: Passes = {"decode/pillow": decode, "canvas/pillow": canvas}
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__}
    versions["pillow"] = PIL.__version__
    try:
        import cv2
    except ImportError:
        pass
    else:
        cv2.setNumThreads(1)
        versions["opencv"] = cv2.__version__

        def opencv() -> None:
            for data in files:
                pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
                cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)

        found["decode/opencv"] = opencv
    turned = T.RandomRotation(10, T.InterpolationMode.BILINEAR)
    lists = {
        "same": [
            T.Resize(CANVAS),
            T.RandomApply([turned], 0.75),
            T.RandomResizedCrop(SIZE, scale=(1 / 1.21, 1), ratio=(1, 1)),
            T.RandomHorizontalFlip(),
            T.ColorJitter(0.05, 0.05),
        ],
        "short": [T.RandomResizedCrop(SIZE), T.RandomHorizontalFlip()],
    }
    for name, transforms in lists.items():
        chain = T.Compose([*transforms, T.ToTensor(), T.Normalize(MEAN, STD)])
        images = torchvision.datasets.ImageFolder(f"{options.data}/files", chain)
        for workers in range(3):
            loader = DataLoader(
                images,
                BATCH,
                shuffle=True,
                drop_last=True,
                num_workers=workers,
                persistent_workers=workers > 0,
            )
            found[f"chain/{name}/{workers}"] = lambda loader=loader: [None for _ in loader] and None
    return versions, found


def jaxft_sides(options: argparse.Namespace) -> tuple[dict, Passes]:
    """jaxft's decoder, host batches and augmentation."""
    import jax
    import numpy as np
    import simplejpeg

    from jaxft.augment import augment
    from jaxft.augment.view import normalize
    from jaxft.config import load
    from jaxft.configs import base
    from jaxft.data.batches import Stretch, train_batches
    from jaxft.data.images.decode import decode_bytes
    from jaxft.data.images.memory import Images, Memory
    from jaxft.data.images.sizing import Sizing
    from jaxft.data.order import epoch_key, position_keys
    from jaxft.data.slots import Slots
    from jaxft.data.sources.registry import open_dataset
    from jaxft.runtime.set_up import set_up

    config = base.get_config()
    config.cache_dir = tempfile.mkdtemp()
    settings = load.read(config)
    set_up(settings.cache_dir)  # as every jaxft command does
    files = contents(options.data)
    square = np.empty((CANVAS, CANVAS, 3), np.uint8)

    def decode() -> None:
        for data in files:
            decode_bytes(data, "")

    def canvas() -> None:
        for data in files:
            square[:] = decode_bytes(data, "", Sizing(CANVAS), 0.5)

    @jax.jit
    def view(canvases: Any, positions: Any) -> Any:
        keys = position_keys(epoch_key(0, 0, 0), positions)
        seen = augment.augment(canvases, keys, settings.augment, SIZE)
        return normalize(seen, MEAN, STD)

    ready = jax.numpy.zeros((BATCH, CANVAS, CANVAS, 3), np.uint8)

    def augmented() -> None:
        view(ready, np.arange(BATCH, dtype=np.int32)).block_until_ready()

    def placed(batch: Any) -> Any:
        return jax.device_put((batch.image, batch.index))

    def chain(source: str, memory_bytes: int = 0) -> Any:
        split = open_dataset(source, valid_fraction=0.01).train
        images = Images(split, Sizing(CANVAS), Memory(memory_bytes))
        how = {"slots": Slots(BATCH), "canvas": CANVAS, "finish": placed}

        def epoch() -> None:
            steps, pending = len(images) // BATCH, None
            with train_batches(images, split.labels, stretch=Stretch(0, 0, steps), **how) as feed:
                for batch in feed:
                    previous, pending = pending, view(*batch)
                    if previous is not None:
                        previous.block_until_ready()
            pending.block_until_ready()

        return epoch, len(images) // BATCH * BATCH

    found: Passes = {"decode/jaxft": decode, "canvas/jaxft": canvas, "augment/jaxft": augmented}
    folder = f"folder:{options.data}/files"
    sources = {"folder": (folder, 0), "memory": (folder, 2**33)}

    def read_canvases(images: Images) -> None:
        for index in range(ONE_CORE):
            square[:] = images.canvas(index)

    for side in PREPARED:
        source = f"tfds_dir:{options.data}/raw{side}"
        sources[f"raw{side}"] = (source, 0)
        images = Images(open_dataset(source, valid_fraction=0.01).train, Sizing(CANVAS))
        found[f"canvas/raw{side}"] = partial(read_canvases, images)
    counts = {}
    for name, what in sources.items():
        found[f"chain/{name}"], counts[f"chain/{name}"] = chain(*what)
    augmented()
    found["chain/memory"]()  # decodes all
    versions = {"jax": jax.__version__, "simplejpeg": simplejpeg.__version__}
    return {**versions, "counts": counts}, found


SIDES = {"torch": torch_sides, "jaxft": jaxft_sides}


def compare(options: argparse.Namespace) -> dict:
    """Runs both sides in turn and puts their medians beside each other."""
    flags = {"threads": options.threads, "data": options.data}
    jaxft = Side(sys.executable, __file__, "jaxft", flags)
    peer = Side(options.peer_python, __file__, "torch", flags)
    for _ in range(options.rounds):
        for prefix in ("decode", "canvas", "augment", "chain"):
            for side in (jaxft, peer):
                side.time(prefix, 1)
    jaxft.close()
    peer.close()
    counts = jaxft.about.pop("counts")
    epoch = options.images // 2 * 2 // BATCH * BATCH
    rates = {}
    for side in (jaxft, peer):
        for name in side.seconds:
            usual = {"augment": BATCH, "chain": epoch}.get(name.split("/")[0], ONE_CORE)
            rates[name] = counts.get(name, usual) / side.median(name)
    ratios = {"decode/pillow": rates["decode/jaxft"] / rates["decode/pillow"]}
    if "decode/opencv" in rates:
        ratios["decode/opencv"] = rates["decode/jaxft"] / rates["decode/opencv"]
    for name in ("jaxft", *(f"raw{side}" for side in PREPARED)):
        ratios[f"canvas/{name}"] = rates[f"canvas/{name}"] / rates["canvas/pillow"]
    for transforms in ("same", "short"):
        best = max(rates[f"chain/{transforms}/{workers}"] for workers in range(3))
        for name in counts:
            ratios[f"{name} over {transforms}"] = rates[name] / best
    return {
        "bench": "input_pipeline",
        "ratios": {name: round(ratio, 2) for name, ratio in ratios.items()},
        "images_per_second": {name: round(rate) for name, rate in rates.items()},
        "milliseconds": {"jaxft": jaxft.table(), "torch": peer.table()},
        "images": epoch,
        "threads": options.threads,
        "versions": {"python": sys.version.split()[0], **jaxft.about, **peer.about},
    }


def main() -> None:
    """Reads the flags; compares, or serves as one side's worker."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    side_by_side.add_flags(parser, SIDES)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5, help="of one epoch each")
    parser.add_argument("--data", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    side_by_side.limit_threads(options.threads)
    if options.worker:
        side_by_side.serve(*SIDES[options.worker](options))
    elif options.peer_python:
        with tempfile.TemporaryDirectory() as options.data:
            draw(Path(options.data, "files"), options.images)
            prepare(Path(options.data))
            print(json.dumps(compare(options)))
    else:
        parser.error("--peer-python is needed")


if __name__ == "__main__":
    main()
