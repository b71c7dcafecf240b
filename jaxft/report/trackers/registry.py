"""All trackers, by the names that `config.track` gives them."""

from collections.abc import Callable, Mapping

from jaxft.report.trackers.mlflow import MLflow
from jaxft.report.trackers.tensorboard import TensorBoard
from jaxft.report.trackers.tracker import Tracker
from jaxft.report.trackers.trackio import Trackio
from jaxft.report.trackers.wandb import WeightsAndBiases

TRACKERS: Mapping[str, Callable[[], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
    "trackio": Trackio,
}
