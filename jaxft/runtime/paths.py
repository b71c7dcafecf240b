"""Paths: files of this machine, and objects of Google Cloud Storage (gs://).

On a disk a file is written aside and renamed into its place; the write of an object is atomic
already, and there are no folders to make. The clients of the store come with the extra `gcs`.
"""

import errno
import importlib.util
import logging
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeAlias

from etils import epath

from jaxft.errors import UserError

AnyPath: TypeAlias = Path | epath.Path

REMOTE = "gs://"
WHOLE = "Write gs://BUCKET/FOLDER; is a shell variable not set?"
UNFINISHED = ".jaxft-????????.tmp"  # files that are being written
SPOOL_BYTES = 2**26  # kept in memory of a file on its way to the store
PACKAGES = ("gcsfs", "google.cloud.storage")
INSTALL = "pip install 'jaxft[gcs]'"
CREDENTIALS = (
    "Log in with `gcloud auth application-default login`, or name a key file in "
    "GOOGLE_APPLICATION_CREDENTIALS; on Google Cloud the machine's service account is used. It "
    "needs the roles Storage Object User and, for a workdir, Storage Legacy Bucket Reader."
)


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path names an object of a store."""
    return os.fspath(path).startswith(REMOTE)


def of(path: str | os.PathLike[str]) -> AnyPath:
    """Return the path that a user's text names; `~` is the home directory.

    Raises:
      UserError: a store that is not Google's, or one whose packages are missing; no bucket.
    """
    text = os.fspath(path)
    if is_remote(text):
        if not in_bucket(text)[0]:
            raise UserError(f"{text} names no bucket", hint=WHOLE)
        _prepare(text)
        return epath.Path(text)
    scheme, found, _ = text.partition("://")
    if found and scheme.isalnum():
        raise UserError(f"{text}: the only object store supported is gs://")
    return expanded(text)


def expanded(text: str) -> Path:
    """Return the path of a text; `~` is the home directory, and what names none stays as it is."""
    return Path(os.path.expanduser(text))


def absolute(path: AnyPath) -> AnyPath:
    """Return the path from the root, which stays valid in any current directory."""
    return path.absolute() if isinstance(path, Path) else path


def demand_workdir(workdir: str | os.PathLike[str]) -> None:
    """Raise UserError where a workdir has no name: the current directory, or a whole bucket."""
    text = os.fspath(workdir)
    if not text:
        raise UserError("--workdir is empty", hint="Is it a shell variable that is not set?")
    if is_remote(text) and not all(in_bucket(text)):
        raise UserError(f"--workdir={text} names no folder of a bucket", hint=WHOLE)


def in_bucket(text: str) -> tuple[str, str]:
    """Return the bucket of a path in a store, and what stands behind it."""
    bucket, _, inner = text.removeprefix(REMOTE).partition("/")
    return bucket, inner.strip("/")


def make_folder(path: AnyPath) -> None:
    """Make a folder and those above it, where there are folders."""
    if not is_remote(path):
        path.mkdir(parents=True, exist_ok=True)


def read(path: AnyPath) -> bytes:
    """Return all bytes of a file.

    Raises:
      OSError: it cannot be read, whatever the client of a store raised.
    """
    if not is_remote(path):
        return path.read_bytes()
    with _as_os_error(path):
        content: bytes = filesystem().cat_file(os.fspath(path))
        return content


def write(path: AnyPath, fill: Callable[[IO[bytes]], Any], durable: bool = True) -> None:
    """Write a file so that a reader sees the old or the new one, never half of one.

    Args:
      path: in a folder that is there.
      fill: writes the content.
      durable: wait until a disk has it, so that even a power cut leaves one of the two.

    Raises:
      OSError: it cannot be written, whatever the client of a store raised.
    """
    if is_remote(path):
        _upload(path, fill)
    else:
        _replace(path, fill, durable)


def _upload(path: AnyPath, fill: Callable[[IO[bytes]], Any]) -> None:
    # Filled beforehand: closing a file of the store, for whatever reason, makes it the object.
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as aside:
        fill(aside)
        aside.seek(0)
        with _as_os_error(path), path.open("wb") as file:
            shutil.copyfileobj(aside, file, SPOOL_BYTES)


def _replace(path: AnyPath, fill: Callable[[IO[bytes]], Any], durable: bool) -> None:
    with naming(path):
        before, after = UNFINISHED.split("????????")
        number, aside = tempfile.mkstemp(dir=path.parent, prefix=before, suffix=after)
        _fill_and_rename(path, fill, durable, number, aside)


def _fill_and_rename(
    path: AnyPath, fill: Callable[[IO[bytes]], Any], durable: bool, number: int, aside: str
) -> None:
    try:
        with open(number, "w+b") as file:
            fill(file)
            file.flush()
            if durable:
                os.fsync(number)
        os.chmod(aside, 0o644)
        os.replace(aside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(aside)
        raise


def is_unfinished(path: AnyPath) -> bool:
    """Tell if a file is one that `write` was filling, when its process was killed or is not yet."""
    return fnmatchcase(path.name, UNFINISHED) and path.is_file() and not path.is_symlink()


@contextmanager
def naming(path: AnyPath) -> Iterator[None]:
    """Let an OSError of this block name the file: one of `write` or `fsync` names none."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename, error.filename2 = str(path), None
        raise


@contextmanager
def open_new(path: AnyPath) -> Iterator[IO[bytes]]:
    """Open a file to write, which must not be there yet.

    Raises:
      FileExistsError: it is there; of a store raised when the file is closed.
    """
    if not is_remote(path):
        with open(path, "xb") as file:
            yield file
        return
    try:
        with filesystem().open(os.fspath(path), "xb") as file:
            yield file
    except Exception as error:
        # gcsfs's frames hold a view of its buffer, and the buffer holds them: Python 3.12.1 dies
        # of such a cycle when it collects it.
        traceback.clear_frames(error.__traceback__)
        raise


def demand_new(*files: str | os.PathLike[str]) -> None:
    """Check that files can be written, before the work whose result they are to hold.

    Of several processes only the one that will write them may ask. Each of this machine's is made
    and removed again: nothing else tells of a folder that is read-only, or of a name that is too
    long.

    Raises:
      UserError: lists those that are there already, or cannot be written.
    """
    demand(*files)
    problems = [problem for file in files if (problem := _obstacle(of(file)))]
    if problems:
        raise UserError("These files cannot be written:", problems, "Give another --output.")


def _obstacle(path: AnyPath) -> str:
    """Return the reason why a new file cannot be written; "" where it can."""
    if is_remote(path):
        return f"{path} already exists" if path.exists() else ""
    if not path.parent.is_dir():
        return f"{path}: no such folder: {path.parent}"
    try:
        with open(path, "xb"):
            path.unlink()
    except FileExistsError:
        return f"{path} already exists"
    except OSError as error:
        return f"{path}: {(error.strerror or str(error)).lower()}"
    return ""


def filesystem() -> Any:
    """Return gcsfs's file system, the one that etils uses.

    Raises:
      UserError: it is not installed.
    """
    _prepare(REMOTE)
    import fsspec

    return fsspec.filesystem("gcs", finalize_on_close=True)


def demand(*given: str | os.PathLike[str], workdir: str | os.PathLike[str] = "") -> None:
    """Check that the paths in a store can be reached; pass over other paths.

    Args:
      given: paths that will be read or written.
      workdir: a run's, in which Orbax writes and a lease is held.

    Raises:
      UserError: packages, a bucket, credentials or permissions are missing; lists all.
    """
    remote = [os.fspath(path) for path in (*given, workdir) if is_remote(path)]
    if not remote:
        return
    _prepare(remote[0])
    checks: dict[str, Callable[[str], Any]] = dict.fromkeys(remote, filesystem().info)
    if is_remote(workdir):
        checks[os.fspath(workdir)] = _bucket_of
    with ThreadPoolExecutor(len(checks)) as pool:  # without a network each takes long
        problems = [found for found in pool.map(_problem, checks, checks.values()) if found]
    if problems:
        raise UserError("These paths cannot be reached:", problems, CREDENTIALS)


def _problem(path: str, check: Callable[[str], Any]) -> str:
    if not in_bucket(path)[0]:
        return f"{path} names no bucket"
    try:
        check(path)
    except FileNotFoundError:  # missing files are for others to report
        return ""
    except Exception as error:  # of several libraries, with no class in common
        return f"{path}: {type_and_words(error)}"
    return ""


def _bucket_of(workdir: str) -> Any:
    """Return the bucket's description, which Orbax reads, too."""
    from google.cloud import storage

    return storage.Client().get_bucket(in_bucket(workdir)[0])


@cache
def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:  # the package above it is missing
        return False


def _prepare(path: str) -> None:
    """Prepare the process for its first request.

    Raises:
      UserError: packages are missing.
    """
    missing = [name for name in PACKAGES if not _installed(name)]
    if missing:
        raise UserError(f"{path} needs packages that are not installed:", missing, INSTALL)
    import fsspec.config

    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # the errors that it logs, it raises
    # It would keep listings while tensorstore and other hosts write.
    fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False


def type_and_words(error: BaseException) -> str:
    """Return an error's type and words, as one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextmanager
def _as_os_error(path: AnyPath) -> Iterator[None]:
    """Raise the errors of a store's libraries as a disk's errors."""
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None
    except Exception as error:
        raise OSError(errno.EIO, type_and_words(error), str(path)) from error
