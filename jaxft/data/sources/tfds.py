"""Data sets of TensorFlow Datasets, found by name or directory, without TensorFlow."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxft.data.sources.trusted import own_features_only
from jaxft.errors import UserError
from jaxft.runtime import paths

PACKAGES = ("array_record", "tensorflow_datasets")
INSTALL = "pip install 'jaxft[tfds]'"
DESCRIPTION = "dataset_info.json"


def demand_packages(what: str) -> None:
    """Raise UserError where packages for TFDS's data sets are missing; `what` needs them."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"{what} needs packages that are not installed:", missing, INSTALL)


def builder_named(name: str) -> Any:
    """TFDS's builder of the data set NAME[/CONFIG][:VERSION] in its data directory.

    Raises:
      UserError: packages are missing; or the data set is, with the commands that make it.
    """
    demand_packages(f"tfds:{name}")
    from tensorflow_datasets.core import read_only_builder, registered
    from tensorflow_datasets.core.utils import file_utils

    try:
        with own_features_only():
            return read_only_builder.builder_from_files(name)
    except registered.DatasetNotFoundError:
        where = ", ".join(str(path) for path in file_utils.list_data_dirs())
        raise UserError(
            f"no prepared data set {name} in {where}",
            hint=tensorflow_commands(f"tfds build {name} --file_format=array_record", "builds it"),
        ) from None
    except (ValueError, AssertionError) as error:
        raise UserError(f"tfds:{name}: {_first_line(error)}") from None


def builder_in(path: str) -> Any:
    """TFDS's builder of the data set in a directory.

    Raises:
      UserError: packages are missing; or no data set is there that TFDS can open.
    """
    demand_packages(f"tfds_dir:{path}")
    from tensorflow_datasets.core import read_only_builder

    if paths.is_remote(path):
        raise UserError(f"{path}: array_record files are read from a disk; copy them to one")
    folder = paths.expanded(path)
    if not (folder / DESCRIPTION).is_file():
        versions = sorted(str(file.parent) for file in folder.glob(f"*/{DESCRIPTION}"))
        versions += sorted(str(file.parent) for file in folder.glob(f"*/*/{DESCRIPTION}"))
        hint = f"There is one in {', '.join(versions)}." if versions else ""
        raise UserError(f"no data set of TFDS in {folder}: {DESCRIPTION} is missing", hint=hint)
    with described(folder), own_features_only():
        return read_only_builder.builder_from_directory(folder)


@contextmanager
def described(folder: Path) -> Iterator[None]:
    """Raise what a data set's description makes TFDS raise as a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # json, protobuf and TFDS each have their own
        raise UserError(f"{folder} can't be opened by TFDS: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def tensorflow_commands(command: str, does: str) -> str:
    """Advice to run a command once that needs TensorFlow; `does` names its effect."""
    return f"TensorFlow {does}; run once:\n  pip install tensorflow\n  {command}"
