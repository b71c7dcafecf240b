"""Eight fake CPU devices, settled before JAX is imported anywhere; a small run to look into."""

import os
from collections import Counter

import pytest

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
).strip()
os.environ["JAX_PLATFORMS"] = "cpu"
# See bucket.environment; gcsfs reads it when it is imported.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"  # runs of one session share it


SLOW_FIXTURES = {"benched", "planned", "grown"}  # what uses them is slow wherever it comes first


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items):
    """Files with slow tests first: of several processes none should be left with one at the end."""
    for item in items:
        if SLOW_FIXTURES & set(item.fixturenames):
            item.add_marker("slow")
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory):
    """Features and compiled programs of the tests, apart from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def tiny():
    """`config.model.name = "tiny"` is known while this lasts."""
    import tiny_body

    from jaxft.models import BODIES

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BODIES, "tiny", tiny_body.body)
        yield


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """A folder of 42 drawn images in 3 classes; not to be changed."""
    import drawn_images

    return drawn_images.draw_folder(tmp_path_factory.mktemp("drawn") / "images")


@pytest.fixture(scope="session")
def finished(tmp_path_factory, cache_home, drawn):
    """The workdir of a finished run of tiny_config; not to be changed."""
    import tiny_body
    import tiny_config

    import jaxft
    from jaxft.models import BODIES

    workdir = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BODIES, "tiny", tiny_body.body)
        jaxft.train(tiny_config.get_config(drawn), workdir)
    return workdir


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
