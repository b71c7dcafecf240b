"""TensorBoard: event files in `WORKDIR/tensorboard`."""

import json
import os
import time
from collections.abc import Sequence

import numpy as np
from PIL.Image import Image

from jaxft.report.trackers.tracker import Begun, Scalars, Start
from jaxft.runtime import paths

FOLDER = "tensorboard"
FLUSH_SECONDS = 1
REMOTE_FLUSH_SECONDS = 120  # each uploads the whole file


class TensorBoard:
    """A Tracker that writes TensorBoard's files; each start adds one."""

    def __init__(self) -> None:
        import tensorboardX

        self._make = tensorboardX.SummaryWriter

    def begin(self, start: Start) -> Begun:
        """Open a file; it hides the steps of earlier ones that this start repeats."""
        folder = os.fspath(start.workdir / FOLDER)
        self._writer = self._make(
            folder,
            purge_step=start.step + 1 if start.run_id else 0,
            flush_secs=REMOTE_FLUSH_SECONDS if paths.is_remote(folder) else FLUSH_SECONDS,
            filename_suffix=f".{time.time_ns()}",  # the client's own clock counts seconds
        )
        if start.run_id is None:
            config = json.dumps(start.config, indent=2)
            self._writer.add_text("config", f"```json\n{config}\n```", 0)
        return Begun(FOLDER, {})

    def log(self, rows: Sequence[Scalars]) -> None:
        """Write each number."""
        for row in rows:
            for name, value in row.values.items():
                self._writer.add_scalar(name, value, row.step)

    def show(self, step: int, name: str, image: Image) -> None:
        """Write a picture."""
        self._writer.add_image(name, np.asarray(image), step, dataformats="HWC")

    def end(self, ended_by: str) -> None:
        """Close the file."""
        self._writer.close()
