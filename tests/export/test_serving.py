"""The page on serving: its lines run as they stand, and answer files as `jaxft predict` does."""

import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from places import ROOT

from jaxft.evaluation import predict
from jaxft.export import onnx, opening

pytest.importorskip("onnxruntime")
BLOCKED = "import sys\nsys.modules.update(jaxft=None, jax=None)\n"
PAGE = ROOT / "docs" / "serving.md"


def lines_with(word):
    """The one block of Python of the page that has a word in it."""
    (found,) = [b for b in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S) if word in b]
    return found


@pytest.fixture(name="photos")
def _photos(tmp_path):
    """The two photographs that come with scikit-learn, and a tall cut of each, as JPEG."""
    folder = tmp_path / "photos"
    folder.mkdir()
    data = pytest.importorskip("sklearn.datasets")
    for name in ("china", "flower"):
        image = Image.fromarray(data.load_sample_image(f"{name}.jpg"))
        image.save(folder / f"{name}.jpg", quality=95)
        image.crop((100, 0, 350, 400)).save(folder / f"{name}_tall.jpg", quality=95)
    return folder


def test_the_lines_for_onnx_runtime_answer_files_as_predict_does(finished, tiny, photos, tmp_path):
    subject = opening.of_run(finished)
    (tmp_path / "photos-model").mkdir()
    onnx.write(subject, tmp_path / "photos-model")
    files = sorted(str(file) for file in photos.iterdir())
    predict.predict_files(finished, files, tmp_path / "table.csv")
    table = np.genfromtxt(tmp_path / "table.csv", delimiter=",", skip_header=1, dtype=str)
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED + lines_with("onnxruntime"), *files],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = [line.rsplit(" ", 2) for line in done.stdout.splitlines()]
    assert [name for name, _, _ in told] == files
    for (_, label, share), row in zip(told, table, strict=True):
        probabilities = dict(zip(subject.classes, map(float, row[2:]), strict=True))
        assert abs(probabilities[label] - float(share)) < 0.02
