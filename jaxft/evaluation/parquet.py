"""Tables as Parquet, by the extra of this name."""

import importlib.util
import io
from collections.abc import Iterable, Mapping
from typing import IO, Any

from jaxft.errors import UserError

INSTALL = "pip install 'jaxft[parquet]'"


def demand(output: object) -> None:
    """Raise UserError where a Parquet file is to be written and pyarrow is not installed."""
    if importlib.util.find_spec("pyarrow") is None:
        raise UserError(f"{output} needs pyarrow, which is not installed", hint=INSTALL)


def write(raw: IO[bytes] | io.BytesIO, columns: Mapping[str, Any]) -> None:
    """Write columns, of what pyarrow takes for one, into a binary file, which stays open."""
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(dict(columns)), raw)


def texts(names: Iterable[str]) -> Any:
    r"""Return names as a column; bytes that are not UTF-8 become \xNN."""
    import pyarrow

    return pyarrow.array(map(in_utf8, names), pyarrow.string())


def in_utf8(name: str) -> str:
    r"""Return a file's name as text that is valid anywhere: bytes that are not UTF-8 as \xNN."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")
