"""The devices of the tests, settled before JAX is imported anywhere; a small run to look into.

They are eight fake ones on CPU, or with JAXFT_TEST_PLATFORM=cuda (rocm, tpu, cpu) the one real
device that is there. Tests that can run on it are marked one_device; the others are skipped then,
and of the marked ones those that need several devices or look into programs for CPU.
"""

import os
from collections import Counter
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
REAL = os.environ.get("JAXFT_TEST_PLATFORM", "")
if REAL:
    os.environ["JAX_PLATFORMS"] = REAL if REAL == "cpu" else f"{REAL},cpu"
    # float32 would mean TF32 on a GPU and a pass of bfloat16 on a TPU.
    os.environ["JAX_DEFAULT_MATMUL_PRECISION"] = "highest"
    # Processes that a test starts want memory of the same device.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
else:
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    ).strip()
    os.environ["JAX_PLATFORMS"] = "cpu"
# See bucket.environment; gcsfs reads it when it is imported.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"  # runs of one session share it


def pytest_configure(config):
    """Check types and shapes in the quick subset; refuse what cannot work on one real device."""
    if config.option.markexpr == "not slow":  # the annotations that slow tests meet are to come
        install_import_hook("jaxft", "typecheck.checked")
    if not REAL:
        return
    if REAL not in PLATFORMS:
        raise pytest.UsageError(f"JAXFT_TEST_PLATFORM={REAL}: it is one of {', '.join(PLATFORMS)}")
    if config.getoption("numprocesses", default=None):
        raise pytest.UsageError("JAXFT_TEST_PLATFORM: one process has the device; leave out -n")
    import jax

    if jax.device_count() > 1:
        raise pytest.UsageError(
            f"JAXFT_TEST_PLATFORM: {jax.device_count()} devices are visible; let one be, such as "
            "by CUDA_VISIBLE_DEVICES=0"
        )


def _cannot_run(item):
    """Why a test cannot run on one real device, or ""."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    if not item.get_closest_marker("one_device"):
        return "not marked one_device"
    if item.get_closest_marker("several_devices") or parameters.get("devices", 1) > 1:
        return "needs several devices"
    if item.get_closest_marker("cpu_program"):
        return "looks into a program for CPU"
    if REAL == "tpu" and item.get_closest_marker("second_process"):
        return "a TPU belongs to one process"
    return ""


SLOW_FIXTURES = {"benched", "planned", "grown"}  # what uses them is slow wherever it comes first


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items):
    """Files that take longest first: of several processes none should be left with one at the end.

    A slow test counts for its `minutes`, or for six seconds.
    """
    for item in items:
        if SLOW_FIXTURES & set(item.fixturenames):
            item.add_marker("slow")
        if REAL and (reason := _cannot_run(item)):
            item.add_marker(pytest.mark.skip(reason=reason))
    minutes = Counter[Path]()
    for item in items:
        if marker := item.get_closest_marker("slow"):
            minutes[item.path] += marker.kwargs.get("minutes", 0.1)
    items.sort(key=lambda item: -minutes[item.path])


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory):
    """Features and compiled programs of the tests, apart from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_baselines():
    """A run's simple classifiers take as long as a tiny run; those of `finished` are looked at."""
    from jaxft.evaluation import baselines

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "LARGEST", 0)
        yield


@pytest.fixture
def tiny():
    """`config.model.name = "tiny"` is known while this lasts."""
    import tiny_body

    from jaxft.models.registry import BODIES

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BODIES, "tiny", tiny_body.body)
        yield


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """A folder of 42 drawn images in 3 classes; not to be changed."""
    import drawn_images

    return drawn_images.draw_folder(tmp_path_factory.mktemp("drawn") / "images")


@pytest.fixture(scope="session")
def finished(tmp_path_factory, cache_home, no_baselines, drawn):
    """The workdir of a finished run of tiny_config; not to be changed."""
    import tiny_body
    import tiny_config

    from jaxft import run
    from jaxft.evaluation import baselines
    from jaxft.models.registry import BODIES

    workdir = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BODIES, "tiny", tiny_body.body)
        patch.setattr(baselines, "LARGEST", 2**20)
        run.train(tiny_config.get_config(drawn), workdir)
    return workdir


@pytest.fixture
def unsealed(monkeypatch):
    """Lets a test change files of a workdir as another run would have written them."""
    monkeypatch.setattr("jaxft.workdir.seal.demand", lambda _: None)


@pytest.fixture(scope="session")
def store():
    """Google Cloud Storage on this machine, and every client in this process talking to it."""
    import bucket

    fsspec_config = pytest.importorskip("fsspec.config")
    pytest.importorskip("gcsfs")
    with bucket.serve() as there, pytest.MonkeyPatch.context() as patch:
        for name, value in bucket.environment(there).items():
            patch.setenv(name, value)
        patch.setitem(fsspec_config.conf, "gcs", {"token": "anon"})
        yield there


@pytest.fixture
def new_bucket(store):
    """The name of an empty bucket in the store."""
    name = f"bucket-{len(store.buckets)}"
    store.buckets[name] = {}
    return name
