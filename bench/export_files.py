"""Files through ONNX Runtime and Pillow, beside `jaxft predict`.

    python bench/export_files.py --workdir=RUN --model=FOLDER

RUN is a finished run with `data.fit="crop"`, FOLDER what `jaxft export --to=onnx` wrote of it. The
files are the two photographs that come with scikit-learn and 48 cuts of them, as JPEG. Prints a
line for each way to read a file: `page` as docs/serving.md does, `fit` by Pillow's ImageOps.fit
alone. By file the largest difference of a probability from `jaxft predict`'s counts.
"""

import argparse
import csv
import json
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_image

from jaxft.evaluation.predict import predict_files

CUTS = 24  # of each photograph


def draw(folder: Path) -> list[str]:
    draws = np.random.default_rng(0)
    for name in ("china", "flower"):
        image = Image.fromarray(load_sample_image(f"{name}.jpg"))
        image.save(folder / f"{name}.jpg", quality=95)
        for number in range(CUTS):
            width, height = (int(side) for side in draws.integers(150, 420, 2))
            left = int(draws.integers(0, image.width - width))
            top = int(draws.integers(0, image.height - height))
            cut = image.crop((left, top, left + width, top + height))
            cut.save(folder / f"{name}{number:02d}.jpg", quality=95)
    return sorted(str(file) for file in folder.glob("*.jpg"))


def as_the_page(file: str, canvas: int, shrink: Image.Resampling) -> Image.Image:
    image = Image.open(file)
    image.draft("RGB", (canvas, canvas))
    image = ImageOps.exif_transpose(image).convert("RGB")
    scale = canvas / min(image.size)
    image = image.resize([int(side * scale + 0.5) for side in image.size], shrink)
    left, top = (round((side - canvas) / 2) for side in image.size)
    return image.crop((left, top, left + canvas, top + canvas))


def by_fit(file: str, canvas: int, shrink: Image.Resampling) -> Image.Image:
    image = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
    return ImageOps.fit(image, (canvas, canvas), shrink)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--model", required=True)
    args = parser.parse_args()
    session = onnxruntime.InferenceSession(Path(args.model) / "model.onnx")
    about = session.get_modelmeta().custom_metadata_map
    canvas, shrink = int(about["canvas"]), Image.Resampling[about["interpolation"].upper()]
    with tempfile.TemporaryDirectory() as folder:
        files = draw(Path(folder))
        predict_files(args.workdir, files, Path(folder) / "table.csv")
        with (Path(folder) / "table.csv").open(newline="") as table:
            wanted = np.asarray([row[2:] for row in list(csv.reader(table))[1:]], float)
        for way, read in (("page", as_the_page), ("fit", by_fit)):
            images = np.stack([np.asarray(read(file, canvas, shrink)) for file in files])
            (found,) = session.run(["probabilities"], {"images": images})
            off = np.abs(found - wanted).max(1)
            same = float((found.argmax(1) == wanted.argmax(1)).mean())
            told = {"median": float(np.median(off)), "largest": float(off.max())}
            print(json.dumps({"way": way, "files": len(files), **told, "same class": same}))


if __name__ == "__main__":
    main()
