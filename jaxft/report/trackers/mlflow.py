"""MLflow: the store that MLFLOW_TRACKING_URI names, else `WORKDIR/mlflow.db`."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL.Image import Image

from jaxft.config.tracking import mlflow_uri
from jaxft.report.trackers.tracker import PROJECT, Begun, Scalars, Start

MOST_METRICS, MOST_PARAMS = 1000, 100  # that MLflow takes at a time
STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


class MLflow:
    """A Tracker on MLflow's client."""

    def __init__(self) -> None:
        import mlflow.entities
        import mlflow.tracking

        self._mlflow = mlflow

    def begin(self, start: Start) -> Begun:
        """Begin a run, with the config as its parameters; or go on with one."""
        place = Path(os.path.abspath(start.workdir))
        uri = mlflow_uri()
        self._client = self._mlflow.tracking.MlflowClient(uri or f"sqlite:///{place / 'mlflow.db'}")
        if start.run_id:
            self._run_id = start.run_id
            self._client.update_run(self._run_id, status="RUNNING")
            return Begun(self._run_id, self._logged())
        pictures = None if uri else (place / "mlflow_artifacts").as_uri()
        run = self._client.create_run(self._experiment(pictures), run_name=start.workdir.name)
        self._run_id = run.info.run_id
        params = [self._mlflow.entities.Param(*pair) for pair in flat(start.config)]
        for first in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(self._run_id, params=params[first : first + MOST_PARAMS])
        return Begun(self._run_id, {})

    def _experiment(self, pictures: str | None) -> str:
        """Return the id of the experiment, made where it is not there yet."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self._client.get_experiment_by_name(name)
        made = found.experiment_id if found else self._client.create_experiment(name, pictures)
        return str(made)

    def _logged(self) -> dict[str, int]:
        names = self._client.get_run(self._run_id).data.metrics
        history = self._client.get_metric_history
        return {name: max(one.step for one in history(self._run_id, name)) for name in names}

    def log(self, rows: Sequence[Scalars]) -> None:
        """Store all numbers, many at a time."""
        now = int(time.time() * 1000)
        metrics = [
            self._mlflow.entities.Metric(name, value, now, row.step)
            for row in rows
            for name, value in row.values.items()
        ]
        for first in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(self._run_id, metrics=metrics[first : first + MOST_METRICS])

    def show(self, step: int, name: str, image: Image) -> None:
        """Store a picture, whatever the step: there is one of each name."""
        self._client.log_image(self._run_id, image, artifact_file=f"{name}.png")

    def end(self, ended_by: str) -> None:
        """Set the run's status."""
        self._client.set_terminated(self._run_id, STATUS[ended_by])


def flat(config: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield (key path, value) of nested JSON data, in the characters that MLflow takes."""
    if isinstance(config, Mapping):
        pairs = list(config.items())
    elif isinstance(config, list) and any(isinstance(item, Mapping) for item in config):
        pairs = list(enumerate(config))
    else:
        yield path, str(config)
        return
    for key, value in pairs:
        yield from flat(value, f"{path}.{key}" if path else str(key))
