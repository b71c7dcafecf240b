"""trackio: its local store, or the server or Space that its variables name."""

import uuid
from collections.abc import Sequence

from PIL.Image import Image

from jaxft.report.trackers.tracker import PROJECT, Begun, Scalars, Start


class Trackio:
    """A Tracker on trackio's client."""

    def __init__(self) -> None:
        import trackio
        import trackio.sqlite_storage

        self._trackio = trackio

    def begin(self, start: Start) -> Begun:
        """Begin a run, or go on with the one of that name."""
        name = start.run_id or f"{start.workdir.name}-{uuid.uuid4().hex[:8]}"
        self._run = self._trackio.init(
            PROJECT, name=name, config=dict(start.config), resume="allow", embed=False
        )
        return Begun(name, self._logged(name) if start.run_id else {})

    def _logged(self, name: str) -> dict[str, int]:
        """Steps in the local store; those on a server are not known."""
        last: dict[str, int] = {}
        for row in self._trackio.sqlite_storage.SQLiteStorage.get_logs(PROJECT, name):
            for key in row:
                last[key] = max(row["step"], last.get(key, -1))
        return last

    def log(self, rows: Sequence[Scalars]) -> None:
        """Store each row."""
        for row in rows:
            self._run.log(dict(row.values), step=row.step)

    def show(self, step: int, name: str, image: Image) -> None:
        """Store a picture."""
        self._run.log({name: self._trackio.Image(image)}, step=step)

    def end(self, ended_by: str) -> None:
        """Wait until all is stored."""
        self._run.finish()
