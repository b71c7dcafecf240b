"""The place that a source names: looked at before anything is opened, and kept apart from runs."""

import difflib
import os
from pathlib import Path

from jaxft.data.images.names import is_image_name
from jaxft.errors import UserError
from jaxft.runtime import paths

# Kind -> how a source of it is written.
KINDS = {
    "digits": "digits",
    "folder": "folder:PATH",
    "csv": "csv:FILE",
    "idx": "idx:DIR",
    "tfds": "tfds:NAME[/CONFIG]",
    "tfds_dir": "tfds_dir:PATH",
}
FOLDERS = ("folder", "idx", "tfds_dir")  # kinds that name a folder
BARE = ("digits",)  # and those that name nothing
BEGUN = ("config.json", "request.json")  # files of a workdir that is in use


def demand_kind(source: str) -> None:
    """Raise UserError where a source is of no kind that there is; it says what may be meant."""
    kind, _, argument = source.partition(":")
    if kind in KINDS and (kind in BARE) == (not argument):
        return
    meant = _meant(source, kind, argument)
    hint = f"known: {', '.join(KINDS.values())}"
    raise UserError(
        f'unknown data source "{source}"', hint=f"did you mean {meant}? {hint}" if meant else hint
    )


def _meant(source: str, kind: str, argument: str) -> str:
    """Guess the source that a person meant, or return ""."""
    if kind in BARE:
        return kind
    if not argument:
        place = _path(source)
        if place.is_dir():
            return f"folder:{source}"
        if place.is_file() and place.suffix.lower() == ".csv":
            return f"csv:{source}"
    near = difflib.get_close_matches(kind, KINDS, n=1)
    if not near:
        return ""
    return near[0] if near[0] in BARE else f"{near[0]}:{argument or KINDS[near[0]].split(':')[1]}"


def demand_there(source: str) -> None:
    """Raise UserError where a source names a folder or a file of this machine that is not there."""
    demand_kind(source)
    place = _local(source)
    if place is None:
        return
    if source.partition(":")[0] in FOLDERS and not place.is_dir():
        raise UserError(f"{'no folder' if place.exists() else 'no such folder'}: {place}")
    if not place.exists():
        raise UserError(f"no such file: {place}")


def _local(source: str) -> Path | None:
    """Return the file or folder that a source names, None where it is not of this machine."""
    kind, _, argument = source.partition(":")
    if kind not in (*FOLDERS, "csv") or paths.is_remote(argument):
        return None
    return _path(argument)


def is_there(source: str) -> bool:
    """Tell whether what a source names is on this machine; True where it names nothing of it."""
    place = _local(source)
    return place is None or place.exists()


def absolute(source: str) -> str:
    """Return a source with the whole path, as seen from here, of what it names."""
    place = _local(source)
    return source if place is None else f"{source.partition(':')[0]}:{place.absolute()}"


def renamed(name: str, source: str, other: str) -> str:
    """Return the name that an example of a source has if the source is written as another one."""
    old, new = (_local(one) for one in (source, other))
    if old is None or new is None:
        return name
    if source.partition(":")[0] == "csv":
        old, new = old.parent, new.parent
    inside = Path(name).is_relative_to(old)
    return str(new / Path(name).relative_to(old)) if inside else name


def demand_apart(workdir: str | os.PathLike[str], source: str) -> None:
    """Raise UserError where a new run would write among a source's images.

    That is a workdir which is the folder of the images, lies in it, or holds it; and for a CSV,
    whose images lie anywhere, a folder with images. A workdir with a run of before stays usable.
    """
    kind, _, argument = source.partition(":")
    if kind in FOLDERS and _mixed(os.fspath(workdir), argument):
        found = f"the folder {argument} of data.source"
    elif kind == "csv" and _holds_images(workdir):
        found = "images"
    else:
        return
    if not _begun(workdir):
        raise UserError(
            f"--workdir={workdir} and {found} should lie apart: a run writes its files there",
            hint="Give a folder of its own, such as --workdir=runs/first.",
        )


def _path(text: str) -> Path:
    """Return the path of a text; `~` is the home directory, and `~nobody` stays as it is."""
    return paths.expanded(text)


def _begun(workdir: str | os.PathLike[str]) -> bool:
    """Tell whether a workdir is in use already."""
    return any((paths.of(workdir) / name).exists() for name in BEGUN)


def _mixed(workdir: str, folder: str) -> bool:
    """Tell whether one of two folders is the other, or lies in it."""
    remote = paths.is_remote(workdir)
    if remote != paths.is_remote(folder):
        return False
    one, other = (Path(text) if remote else _path(text).resolve() for text in (workdir, folder))
    return one.is_relative_to(other) or other.is_relative_to(one)


def _holds_images(workdir: str | os.PathLike[str]) -> bool:
    if paths.is_remote(workdir):
        return False
    place = _path(os.fspath(workdir))
    return place.is_dir() and any(map(is_image_name, os.listdir(place)))
