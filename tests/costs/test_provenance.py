"""The revision of the code that figures come from."""

import re
import subprocess
import sys
import types

import jax
import pytest

import jaxft
from jaxft.devices import provenance
from jaxft.runtime import version


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A file of the package in a git repository that does not track it yet; and git in there."""
    file = tmp_path / "package" / "version.py"
    file.parent.mkdir()
    file.write_text("")
    monkeypatch.setattr(version, "__file__", str(file))
    identity = ["-c", "user.name=A", "-c", "user.email=a@b"]

    def git(*arguments):
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message=x")
    return file, git


def test_the_revision_of_a_checkout(package):
    file, git = package
    git("add", ".")
    git("commit", "--quiet", "--message=y")
    git("tag", "--annotate", "--message=z", "v1")
    assert provenance.revision() == git("rev-parse", "HEAD")
    file.write_text("changed = 1\n")
    assert provenance.revision() == git("rev-parse", "HEAD") + "-dirty"


def test_installed_inside_another_checkout_it_is_the_version(package):
    assert provenance.revision() == jaxft.__version__


def test_without_git_it_is_the_version(package, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.revision() == jaxft.__version__


def test_versions():
    found = provenance.versions()
    assert set(found) == {"jaxft", "jax", "jaxlib", "flax", "optax", "python"}
    assert all(re.match(r"\d+\.\d+", version) for version in found.values())
    assert sys.version.startswith(found["python"])


# /proc/driver/nvidia/version, of the two kinds of driver.
CLOSED = """NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023
GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)
"""
OPEN = """NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build
GCC version:  gcc version 13.3.0
"""


@pytest.mark.parametrize("text, version", [(CLOSED, "535.104.05"), (OPEN, "580.65.06"), ("", None)])
def test_the_driver(text, version, tmp_path):
    file = tmp_path / "version"
    file.write_text(text)
    assert provenance.driver_version(file) == version


def test_without_a_driver(tmp_path):
    assert provenance.driver_version(tmp_path / "none") is None


def test_libraries_of_the_device_that_is_there(monkeypatch):
    names = ("jax_cuda13_plugin", "jax-cuda13-pjrt", "nvidia-cudnn-cu13", "libtpu", "numpy")
    installed = [types.SimpleNamespace(metadata={"Name": name}, version="1.2") for name in names]
    monkeypatch.setattr("importlib.metadata.distributions", lambda: installed)
    assert provenance.on_device() == {}  # of a CPU
    monkeypatch.setattr(provenance, "driver_version", lambda: "580.65.06")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    libraries = {
        name: "1.2" for name in ("jax-cuda13-pjrt", "jax-cuda13-plugin", "nvidia-cudnn-cu13")
    }
    assert provenance.on_device() == {**libraries, "driver": "580.65.06"}
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert provenance.on_device() == {"libtpu": "1.2"}


def test_settings_that_matter_and_no_others(monkeypatch):
    set_to = {
        "XLA_FLAGS": "--xla_a=1",
        "LIBTPU_INIT_ARGS": "--b",
        "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.9",
        "JAX_DEFAULT_MATMUL_PRECISION": "highest",
        "NVIDIA_TF32_OVERRIDE": "0",
        "JAX_COORDINATOR_ADDRESS": "10.0.0.1:1234",
        "JAX_COMPILATION_CACHE_DIR": "/home/somebody",
        "AWS_SECRET_ACCESS_KEY": "x",
    }
    monkeypatch.setattr("os.environ", set_to)
    assert list(provenance.environment()) == sorted(list(set_to)[:5])
