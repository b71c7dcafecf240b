"""Files that a verb is to write, checked before any work is done."""

from collections.abc import Sequence
from pathlib import Path

from jaxft.errors import UserError


def demand_places(*files: str) -> None:
    """Raise UserError where files cannot be written; lists all of them."""
    from jaxft.runtime import paths

    paths.demand(*files)
    places = {file: paths.of(file) for file in files if file and not paths.is_remote(file)}
    problems = [
        f"{file}: is a folder" if place.is_dir() else f"{file}: no folder {place.parent}"
        for file, place in places.items()
        if place.is_dir() or not place.parent.is_dir()
    ]
    if problems:
        raise UserError("These files cannot be written:", problems)


def demand_new_folder(flag: str, folder: str) -> None:
    """Raise UserError where a folder, if one is named, holds something or cannot be made."""
    from jaxft.runtime import paths

    paths.demand(folder)
    if not folder:
        return
    place = paths.of(folder)
    if place.exists() and not (place.is_dir() and not any(place.iterdir())):
        raise UserError(f"{flag}={folder} is there already", hint=f"Give another {flag}.")
    if not paths.is_remote(folder) and not place.parent.is_dir():
        raise UserError(f"{flag}={folder}: no folder {place.parent}")


def demand_picture(flag: str, file: str, kinds: Sequence[str]) -> None:
    """Raise UserError where a file's name ends like none of these kinds of pictures."""
    if Path(file).suffix.lower() not in kinds:
        raise UserError(f"{flag}={file} should end in {', '.join(kinds)}")


def usual_output(form: str) -> str:
    """Return the file to write where none is named, by the table's form."""
    return "submission.csv" if form == "submission" else f"predictions.{form or 'csv'}"
