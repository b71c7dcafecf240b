"""The StableHLO program: JAX alone runs it, for any batch, in full precision on every platform."""

import json
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax import export
from PIL import Image

import jaxft
from jaxft.export import opening, stablehlo, text
from jaxft.export.subject import Subject

# Stands in for a machine without them: `import jaxft` raises there, and flax's too.
BLOCKED = "import sys\nsys.modules.update(jaxft=None, flax=None, orbax=None, optax=None)\n"


@pytest.fixture(scope="module", name="folder")
def _folder(finished, tmp_path_factory):
    import tiny_body

    from jaxft.models.registry import BODIES

    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BODIES, "tiny", tiny_body.body)
        subject = opening.of_run(finished)
        stablehlo.write(subject, folder)
    return folder


def alone(folder, source):
    """What a new process prints that has JAX and neither jaxft nor flax."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCKED + source],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_new_process_with_jax_alone_answers_as_the_run(folder, finished, tiny, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 36, 36, 3), np.uint8)
    np.save(folder / "images.npy", images)
    source = """
from pathlib import Path
import jax, jax.export, numpy as np
program = jax.export.deserialize(bytearray(Path("model.jax_exported").read_bytes()))
images = np.load("images.npy")
found = [jax.jit(program.call)(images[:count]) for count in (1, 3)]
np.testing.assert_allclose(found[0], found[1][:1], atol=1e-6)
np.save("answers.npy", found[1])
"""
    alone(folder, source)
    wanted = jaxft.restore(finished).apply(images)
    np.testing.assert_allclose(np.load(folder / "answers.npy"), wanted, atol=1e-6)


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
def test_the_lines_on_the_card_run_as_they_stand(
    fit, folder, finished, tiny, drawn, tmp_path, monkeypatch
):
    monkeypatch.setattr(Subject, "fit", fit)
    told = stablehlo.usage(opening.of_run(finished))
    (source,) = re.findall(r"```python\n(.*?)```", told, re.S)
    photo = Image.open(drawn / "red" / "00.png").convert("RGB").resize((90, 40))
    photo.save(folder / "photo.jpg", quality=95)
    source += 'print(image.size)\nimage.save("seen.png")\n'
    label, size = alone(folder, source).splitlines()
    assert label in ("blue", "green", "red") and size == "(36, 36)"
    seen = np.asarray(Image.open(folder / "seen.png"), float)
    assert (np.abs(seen[0] - 128).max() < 1) == (fit == "pad"), "gray is above a wide image"


def test_the_program_says_what_it_takes_and_where_it_runs(folder):
    program = export.deserialize(bytearray((folder / "model.jax_exported").read_bytes()))
    assert program.platforms == ("cpu", "cuda", "tpu")
    ((given,), (told,)) = program.in_avals, program.out_avals
    assert (str(given.shape), given.dtype) == ("(batch, 36, 36, 3)", np.uint8)
    assert (str(told.shape), told.dtype) == ("(batch, 3)", np.float32)
    about = json.loads((folder / "model.json").read_text())
    assert about["classes"] == ["blue", "green", "red"]
    assert (about["canvas"], about["image_size"]) == (36, 32)
    assert about["versions"]["jax"] == jax.__version__


def test_products_ask_for_full_precision_and_nothing_is_one_platforms_own(folder):
    program = export.deserialize(bytearray((folder / "model.jax_exported").read_bytes()))
    lines = program.mlir_module().splitlines()
    products = [line for line in lines if "stablehlo.convolution" in line or ".dot_general" in line]
    assert len(products) >= 4, "two convolutions and two linear layers, perhaps by platform"
    assert [line for line in products if line.count("HIGHEST") != 2] == []
    assert not any("custom_call" in line and "shape_assertion" not in line for line in lines)


def test_text_of_others_is_shown_as_it_is():
    assert text.cell("a|b\n*c*") == "a\\|b \\*c\\*"
