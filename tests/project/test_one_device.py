"""The suite on one real device, for which one CPU device stands here (conftest.py)."""

import os
import subprocess
import sys

import pytest
from places import ROOT

pytestmark = pytest.mark.slow


def run(*arguments, platform="cpu"):
    """pytest in a process of its own, on what JAXFT_TEST_PLATFORM names; -> code, all it says."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))}
    environment |= {"JAXFT_TEST_PLATFORM": platform, "PYTHONPATH": str(ROOT / "tests")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    return done.returncode, done.stdout + done.stderr


def test_what_one_device_can_run_runs_and_the_rest_says_why_not(tmp_path):
    probe = tmp_path / "test_probe.py"
    probe.write_text("""
import jax, os, pytest

@pytest.mark.one_device
@pytest.mark.parametrize("devices", [1, 8])
def test_devices(devices):
    assert jax.device_count() == 1 and jax.default_backend() == "cpu"
    assert jax.config.jax_default_matmul_precision == "highest"
    assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"

@pytest.mark.one_device
@pytest.mark.several_devices
def test_mesh():
    raise AssertionError

@pytest.mark.one_device
@pytest.mark.cpu_program
def test_program():
    raise AssertionError

def test_unmarked():
    raise AssertionError
""")
    code, said = run("-c", str(ROOT / "pyproject.toml"), "-p", "conftest", "-rs", str(probe))
    assert code == 0, said
    assert "1 passed, 4 skipped" in said
    reasons = [line.rpartition(": ")[2] for line in said.splitlines() if "SKIPPED" in line]
    several, program = "needs several devices", "looks into a program for CPU"
    assert sorted(reasons) == sorted([program, several, several, "not marked one_device"]), said


@pytest.mark.parametrize(
    ("arguments", "platform", "why"),
    [
        (("-n", "2"), "cpu", "one process has the device"),
        ((), "gpu", "it is one of cpu, cuda, rocm, tpu"),
    ],
)
def test_what_cannot_work_is_refused(arguments, platform, why):
    code, said = run(
        *arguments, "--collect-only", "tests/project/test_layout.py", platform=platform
    )
    assert code == pytest.ExitCode.USAGE_ERROR and why in said
