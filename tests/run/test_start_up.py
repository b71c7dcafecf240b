"""Work that a second start of the same config need not repeat."""

import json
import os
import subprocess
import sys

import pytest
from places import SUPPORT


def start(drawn, folder, workdir):
    """`jaxft train` in a process of its own; how often it asked the compilation cache, and how."""
    command = [
        sys.executable,
        str(SUPPORT / "counting_main.py"),
        "train",
        f"--config={SUPPORT / 'tiny_config.py'}:{drawn}",
        f"--workdir={folder / workdir}",
        f"--config.cache_dir={folder / 'cache'}",
    ]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))}
    environment["JAX_PLATFORMS"] = "cpu"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stderr.splitlines()[-1])


@pytest.mark.slow
def test_a_second_start_compiles_nothing_again(drawn, tmp_path):
    first = start(drawn, tmp_path, "first")
    assert first["misses"] > 0 and first["misses"] + first["hits"] == first["requests"]
    second = start(drawn, tmp_path, "second")
    assert second["misses"] == 0
    assert second["hits"] == second["requests"] > 0


def test_the_command_line_does_not_wait_for_jax():
    """Its help is there at once, and `plan --topology` can set variables that JAX reads."""
    code = "import sys; import jaxft.cli.main; sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
