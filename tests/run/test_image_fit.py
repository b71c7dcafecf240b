"""A run on padded images is evaluated, resumed and predicted with on padded images."""

import json

import pytest
import tiny_config
from PIL import Image

from jaxft import run
from jaxft.errors import UserError
from jaxft.evaluation import predict
from jaxft.evaluation.evaluate import evaluate


@pytest.mark.slow
def test_a_run_keeps_to_its_fit(drawn, tiny, tmp_path):
    config = tiny_config.get_config(long_ones(drawn, tmp_path / "long"))
    config.cache_dir, config.phases = str(tmp_path / "cache"), config.phases[:1]
    config.phases[0].lr, config.data.fit = 0.1, "pad"
    workdir = tmp_path / "run"
    summary = run.train(config, workdir)
    told = [
        json.loads((workdir / name).read_text()) for name in ("config.json", "preprocessing.json")
    ]
    assert (told[0]["data"]["fit"], told[1]["fit"]) == ("pad", "pad")
    assert evaluate(workdir).scores["loss"] == pytest.approx(summary["val_loss"], rel=1e-5)
    file = tmp_path / "long" / "red" / "00.png"
    found = predict.predict_files(workdir, [str(file)], tmp_path / "out.csv")
    with Image.open(file) as image:
        square = Image.new("RGB", (image.width, image.width), (128, 128, 128))
        square.paste(image, (0, (image.width - image.height) // 2))
    square.save(tmp_path / "square.png")
    same = predict.predict_files(workdir, [str(tmp_path / "square.png")], tmp_path / "same.csv")
    assert found.probabilities == pytest.approx(same.probabilities, abs=0.02)
    config.data.fit = "squash"
    with pytest.raises(UserError, match=r"data\.fit: 'pad' there, 'squash' now"):
        run.train(config, workdir)
    run.train(config, tmp_path / "other")
    entries = {part.name for part in (tmp_path / "cache" / "features").glob("*.npy")}
    assert len(entries) == 4, "features of train and valid, of either fit"


def long_ones(drawn, root):
    """The drawn images, twice as wide as high."""
    for file in sorted(drawn.rglob("*.png")):
        (root / file.parent.name).mkdir(parents=True, exist_ok=True)
        with Image.open(file) as image:
            image.resize((80, 40)).save(root / file.parent.name / file.name)
    return root
