"""Contents of a workdir, read for its page: all that is there, of a run in whatever state."""

from dataclasses import dataclass, field, replace
from typing import Any

from jaxft.errors import UserError
from jaxft.evaluation.answers import FOLDER, METRICS, WRONG, fits
from jaxft.runtime import csv_rows, paths
from jaxft.runtime.paths import AnyPath
from jaxft.workdir import history, seal
from jaxft.workdir.rows import parse

PICTURES = ("most_wrong", "least_sure", "surest_right", "confusion")


@dataclass(frozen=True)
class Contents:
    """A workdir's files, parsed; what is not there is empty.

    Attributes:
      name: of the workdir.
      summary, config, data, weights: as the JSON files of these names have them.
      rows: of metrics.jsonl.
      starts: rows of starts.jsonl.
      curves: phase -> its `lr_find/PHASE.json`.
      scores: `valid/metrics.json`.
      wrong: rows of `valid/wrong.csv`, the most wrong first.
      pictures: name -> a PNG of `valid/`.
      damaged: files that cannot be read, or were changed since the run began, with the reason;
        of the latter there is what they held then.
    """

    name: str
    summary: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    starts: list[dict[str, Any]] = field(default_factory=list)
    curves: dict[str, dict[str, Any]] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    wrong: list[dict[str, str]] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)
    damaged: tuple[str, ...] = ()

    @property
    def best(self) -> dict[str, Any]:
        """The epoch that is kept, of an unfinished run so far; {} before the first."""
        if best := self.summary.get("best"):
            return dict(best)
        return next((row for row in reversed(self.rows) if row.get("best")), {})

    @property
    def phases(self) -> list[str]:
        """Names of the phases that the config lists, or else of those that have begun."""
        told = [*self.config.get("phases", ()), *self.summary.get("phases", ())]
        names = [phase["name"] for phase in told] + [row["phase"] for row in self.rows]
        return list(dict.fromkeys(names))


def read(workdir: AnyPath) -> Contents:
    """Read what a workdir holds.

    Raises:
      UserError: it holds no run.
    """
    reader = _Reader(workdir)
    found = Contents(
        name=paths.absolute(workdir).name,
        summary=reader.document("summary.json"),
        config=reader.sealed(seal.CONFIG),
        data=reader.document("data.json"),
        weights=reader.sealed(seal.WEIGHTS),
        rows=reader.history(),
        starts=reader.rows("starts.jsonl"),
        scores=reader.document(f"{FOLDER}/{METRICS}"),
        wrong=reader.table(FOLDER, WRONG),
        pictures=reader.several(FOLDER + "/{}.png", PICTURES, reader.content),
    )
    curves = reader.several("lr_find/{}.json", found.phases, reader.document)
    if not (found.summary or found.config or found.rows or reader.damaged):
        raise UserError(f"{workdir} holds no run", hint="--workdir is that of a `jaxft train`.")
    return replace(found, curves=curves, damaged=tuple(reader.damaged))


class _Reader:
    """Reads files of a folder; those that are damaged are noted and count as missing."""

    def __init__(self, folder: AnyPath) -> None:
        self._folder = folder
        self._broken = seal.broken(folder)
        self.damaged: list[str] = []

    def content(self, name: str) -> bytes:
        """All bytes of a file; none if it is not there."""
        try:
            return paths.read(self._folder / name)
        except (FileNotFoundError, NotADirectoryError):
            return b""
        except OSError as error:
            self.damaged.append(f"{name}: {error.strerror or error}")
            return b""

    def document(self, name: str) -> dict[str, Any]:
        """The object that a JSON file holds."""
        return next(iter(self._objects(name, [self.content(name)])), {})

    def sealed(self, name: str) -> dict[str, Any]:
        """The object that a JSON file holds; the checkpoint's where the file was changed."""
        if name not in self._broken:
            return self.document(name)
        found = self._broken[name]
        self.damaged += found.lines
        return dict(found.data)

    def rows(self, name: str, after: int = 0) -> list[dict[str, Any]]:
        """Objects of a JSON-lines file, after so many lines; a last line may be cut off."""
        ended = self.content(name).split(b"\n")[:-1]
        return self._objects(name, ended[after:])

    def history(self) -> list[dict[str, Any]]:
        """Rows of metrics.jsonl; the checkpoint's where it has them."""
        table = history.stored(self._folder)
        return table + self.rows(history.FILE, after=len(table))

    def table(self, folder: str, name: str) -> list[dict[str, str]]:
        """Rows of a CSV with a header, which the metrics beside it tell the digest of."""
        content = self.content(f"{folder}/{name}")
        if not fits(self._folder / folder, name, content):
            self.damaged.append(f"{folder}/{name}: it does not match its digest")
            return []
        text = content.decode(errors="replace")
        rows = csv_rows.read(text)
        return [{key: value or "" for key, value in row.items() if key} for row in rows]

    def several(self, pattern: str, names: Any, read_one: Any) -> dict[str, Any]:
        """Name -> the file of each name that is there."""
        found = {name: read_one(pattern.format(name)) for name in names}
        return {name: content for name, content in found.items() if content}

    def _objects(self, name: str, texts: list[bytes]) -> list[dict[str, Any]]:
        found = []
        for text in filter(None, texts):
            try:
                found.append(parse(text))
            except (ValueError, RecursionError) as error:
                self.damaged.append(f"{name}: {error}")
                break
        return found
