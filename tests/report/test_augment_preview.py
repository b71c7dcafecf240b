"""The contact sheet: which images, in which order, and that the picture is written."""

import numpy as np
import pytest
from PIL import Image

from jaxft.cli import main
from jaxft.report import augment_preview


def test_the_classes_take_turns():
    assert augment_preview.choose(np.array([1, 1, 0, 1, 2, 0]), 5) == [2, 0, 4, 5, 1]
    assert augment_preview.choose(np.array([0, 0]), 5) == [0, 1]


@pytest.mark.slow
def test_a_sheet_of_rows_and_columns(drawn, tmp_path, monkeypatch, capsys):
    seen = []
    sheet = augment_preview._sheet

    def noting(*given):
        seen.append(given)
        return sheet(*given)

    monkeypatch.setattr(augment_preview, "_sheet", noting)
    output = tmp_path / "sheet.png"
    arguments = [
        "augment_preview",
        f"--config=tests/support/tiny_config.py:{drawn}",
        "--config.augment.preset=none",
        "--config.augment.cutmix_alpha=1",
        "--config.model.name=resnet18",
        f"--output={output}",
        "--examples=3",
        "--views=2",
    ]
    assert main.main(arguments) == 0
    assert "cutmix_alpha=1" in capsys.readouterr().out
    (columns, names, title), *_ = seen
    assert title.startswith("32 px; ")
    assert [column.shape for column in columns] == [(3, 32, 32, 3)] * 3
    assert len(set(names)) == 3
    evaluation, first, second = columns
    np.testing.assert_array_equal(first[2], evaluation[2])  # an odd one out has no partner
    assert not np.array_equal(first[:2], evaluation[:2])
    assert not np.array_equal(first[:2], second[:2])
    with Image.open(output) as picture:
        assert picture.format == "PNG"


@pytest.mark.parametrize("name", ["sheet.txt", "nowhere/sheet.png"])
def test_a_picture_that_cannot_be_written_is_refused_first(drawn, tmp_path, name, capsys):
    config = f"--config=tests/support/tiny_config.py:{drawn}"
    assert main.main(["augment_preview", config, f"--output={tmp_path / name}"]) == 2
    assert name in capsys.readouterr().err
