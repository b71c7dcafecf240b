"""Weights & Biases: its server, or with WANDB_MODE=offline the folder `WORKDIR/wandb`."""

import os
import uuid
from collections.abc import Sequence

from PIL.Image import Image

from jaxft.errors import UserError
from jaxft.report.trackers.tracker import PROJECT, Begun, Scalars, Start
from jaxft.runtime import paths

# W&B's own steps only grow, and drop what comes late: an epoch's row at the step of a loss.
STEP = "global_step"


class WeightsAndBiases:
    """A Tracker on W&B's client."""

    def __init__(self) -> None:
        import wandb

        self._wandb = wandb

    def begin(self, start: Start) -> Begun:
        """Begin a run, or go on with one on the server; raises where nobody is logged in."""
        wandb = self._wandb
        if wandb.setup().settings.mode == "online" and not wandb.login(prompt=False):
            raise UserError("run `wandb login`, or set WANDB_API_KEY or WANDB_MODE=offline")
        here = "WANDB_DIR" not in os.environ and not paths.is_remote(start.workdir)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=start.run_id or uuid.uuid4().hex[:12],
            name=None if start.run_id else start.workdir.name,
            config=dict(start.config),
            allow_val_change=True,
            dir=os.fspath(start.workdir) if here else None,
            resume="allow" if start.run_id else None,
            reinit="create_new",  # leaves a run of the user's alone
            settings=wandb.Settings(console="off"),  # the terminal is not W&B's
        )
        self._run.define_metric("*", step_metric=STEP)
        return Begun(self._run.id, self._logged())

    def _logged(self) -> dict[str, int]:
        """Steps that the server has; an epoch's row at the last of them may be missing."""
        if not self._run.resumed:
            return {}
        last = int(self._run.summary.get(STEP, 0))
        return dict.fromkeys(self._run.summary.keys(), last - 1)

    def log(self, rows: Sequence[Scalars]) -> None:
        """Send each row."""
        for row in rows:
            self._run.log({**row.values, STEP: row.step})

    def show(self, step: int, name: str, image: Image) -> None:
        """Send a picture."""
        self._run.log({name: self._wandb.Image(image), STEP: step})

    def end(self, ended_by: str) -> None:
        """Wait until all is sent."""
        self._run.finish(exit_code=0 if ended_by == "finished" else 1)
