"""Pretrained weights by name, from timm's repositories on the Hugging Face hub.

Each repository holds the weights and a config.json with the preprocessing that they expect.
"""

import hashlib
import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxft.errors import UserError
from jaxft.models.body import Preprocessing
from jaxft.models.weights.preprocessing import TIMM_FILE, read_timm
from jaxft.runtime.paths import AnyPath

FILE = "model.safetensors"
PAUSE = 1.0  # seconds before the hub is asked once more
SHA256, SHA1 = re.compile("[0-9a-f]{64}"), re.compile("[0-9a-f]{40}")


# Model -> its tags, the one that `imagenet` stands for first.
MODELS = {
    "resnet18": "tv a1 a2 a3 gluon fb_ssl_yfcc100m_ft fb_swsl_ig1b_ft",
    "resnet34": "tv a1 a2 a3 bt gluon ra4_e3600_r224",
    "resnet50": "tv tv2 a1 a1h a2 a3 am b1k b2k bt c1 c2 d gluon ra ram fb_ssl_yfcc100m_ft "
    "fb_swsl_ig1b_ft",
    "resnet101": "tv tv2 a1 a1h a2 a3 gluon",
    "resnet152": "tv tv2 a1 a1h a2 a3 gluon",
    "resnext50_32x4d": "tv tv2 a1 a1h a2 a3 ra gluon fb_ssl_yfcc100m_ft fb_swsl_ig1b_ft",
    "resnext101_32x4d": "gluon fb_ssl_yfcc100m_ft fb_swsl_ig1b_ft",
    "resnext101_32x8d": "tv tv2 fb_ssl_yfcc100m_ft fb_swsl_ig1b_ft fb_wsl_ig1b_ft",
    "resnext101_64x4d": "tv c1 gluon",
}


def tags(name: str) -> tuple[str, ...]:
    """Names of a model's weights on the hub, the usual ones first."""
    return tuple(f"{tag}_in1k" for tag in MODELS.get(name, "").split())


def all_tags() -> tuple[str, ...]:
    """Names of all models' weights on the hub."""
    return tuple(dict.fromkeys(tag for name in MODELS for tag in tags(name)))


def facts(name: str, tag: str) -> tuple[Preprocessing, str]:
    """Ask the hub for the preprocessing and the licence of a set of weights.

    Raises:
      UserError: as `fetch`; or the hub's config.json is not timm's.
    """
    repository = f"timm/{name}.{tag}"
    path, _ = _whole(repository, TIMM_FILE)
    found = read_timm(path)
    if found is None:
        raise UserError(f"{repository}: {TIMM_FILE} is not timm's", hint=_how_to_bring(repository))
    return found


def fetch(name: str, tag: str) -> tuple[Path, dict[str, Any]]:
    """Get a file of weights from the hub's cache or the hub, and its identity.

    The file's digest is the one that the hub states for it; a cached file with another one is
    fetched again, once. A cache without links states none.

    Args:
      name: one of MODELS.
      tag: one of `tags(name)`.

    Returns:
      (path in huggingface_hub's cache, {repository, revision, file, sha256}).

    Raises:
      UserError: huggingface_hub is missing, the hub cannot be reached and nothing is cached, the
        connection broke, or the digest is wrong twice; the hint tells how to bring the file.
    """
    repository = f"timm/{name}.{tag}"
    path, digest = _whole(repository, FILE)
    about = {"repository": repository, "revision": path.parent.name, "file": FILE}
    return path, {**about, "sha256": digest if SHA256.fullmatch(digest) else sha256(path)}


def _whole(repository: str, file: str) -> tuple[Path, str]:
    """Get a file that has the digest that the hub states for it, and that digest, "" if none.

    A damaged one is fetched again.
    """
    for again in (False, True):
        path = _download(repository, file, again)
        kind, stated, found = _digests(path)
        if found == stated:
            return path, found
    raise UserError(
        f"{repository}: the digest of {file} is wrong",
        [f"the hub states {kind} {stated}", f"{path} has {found}"],
        _how_to_bring(repository),
    )


def _digests(path: Path) -> tuple[str, str, str]:
    """Return the kind of digest by which a file of the hub's cache is held, as stated, and its own.

    Files there are links to what is named by the hub's ETag: SHA-256, or git's SHA-1 where git
    itself keeps the file. Behind that may be another link, to what several repositories share. A
    cache that was copied without its links, or filled by a mirror with other ETags, states none.
    """
    stated = path.readlink().name if path.is_symlink() else ""
    for kind, form, digest_of in (("SHA-256", SHA256, sha256), ("git's SHA-1", SHA1, git_digest)):
        if form.fullmatch(stated):
            return kind, stated, digest_of(path)
    return "none", "", ""


def is_cached(name: str, tag: str) -> bool:
    """Tell if both files of a set of weights are in the hub's cache."""
    try:
        import huggingface_hub
    except ImportError:
        return False
    files = (
        huggingface_hub.try_to_load_from_cache(f"timm/{name}.{tag}", file)
        for file in (FILE, TIMM_FILE)
    )
    return all(isinstance(file, str) for file in files)


def _download(repository: str, file: str, again: bool = False) -> Path:
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(
            f"Weights by name ({repository}) come from huggingface_hub, which is not installed",
            hint="Install it: pip install 'jaxft[hub]'. Or give a file: model.weights=file:PATH.",
        ) from error
    # It has a handler of its own, and others than this process's would print each line again.
    logging.getLogger("huggingface_hub").propagate = False
    try:
        if not isinstance(huggingface_hub.try_to_load_from_cache(repository, file), str):
            _demand_answer(huggingface_hub.hf_hub_url(repository, file))
        return Path(huggingface_hub.hf_hub_download(repository, file, force_download=again))
    except Exception as error:  # the library that it speaks HTTP by changes with its version
        lines = [f"{type(error).__name__}: {line}" for line in reasons(error)]
        there = "is damaged in its cache" if again else "is not in its cache"
        title = f"{repository}/{file} cannot be fetched from the hub, and {there}"
        raise UserError(title, lines, _how_to_bring(repository)) from error


def _demand_answer(address: str) -> None:
    """Raise an error of the library's where the hub gives no answer at all, twice.

    By itself it tries for half a minute, and tells of each try, before it says so.
    """
    from huggingface_hub import errors, get_hf_file_metadata

    for last in (False, True):
        try:
            get_hf_file_metadata(address)
        except errors.HfHubHTTPError:
            return  # an answer: others know what to do about it
        except Exception:
            if last:
                raise
            time.sleep(PAUSE)
        else:
            return


def reasons(error: BaseException) -> Iterator[str]:
    """Yield one line of each error that led to this one, the last first."""
    cause: BaseException | None = error
    while cause is not None:
        yield (str(cause).strip() or "no reason given").splitlines()[0][:200]
        cause = cause.__cause__


def _how_to_bring(repository: str) -> str:
    return (
        "Without a connection: on another machine fetch "
        f"https://huggingface.co/{repository}/resolve/main/{FILE}, and {TIMM_FILE} from there too, "
        "into one folder, and give --config.model.weights=file:PATH; or copy the hub's cache here "
        "(HF_HOME says where it is). HF_ENDPOINT names a mirror."
    )


def sha256(path: AnyPath) -> str:
    """Compute a file's SHA-256, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_digest(path: Path) -> str:
    """Compute what git names a file's content by: a SHA-1, as 40 hexadecimal digits."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
