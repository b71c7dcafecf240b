"""Validation with running statistics, and with those measured on more and more images.

    python bench/settle.py --from=RUN --workdir=DIRECTORY --rate=1e-3 [--images=320,640,1000]
                           [--config.KEY=VALUE ...]

Trains the last phase of `--config=folder` from the weights of a run, at a rate set by hand, and
prints after each epoch the validation loss and accuracy of the same weights: with BatchNorm's
running statistics, then with those measured on so many training images (training/rebase.py). RUN
may be `runs/TASK.0.head` of bench/proving_ground.py; its data and image size are taken.
"""

import argparse
from pathlib import Path
from typing import Any

from jaxft import run
from jaxft.cli.config_file import load_config
from jaxft.materials.materials import Materials
from jaxft.models.variables import Weights
from jaxft.runtime.console import Console
from jaxft.training import rebase, train_state
from jaxft.training.loop import evaluate_weights
from jaxft.training.spec import StepSpec
from jaxft.training.train_state import Settle, TrainState
from jaxft.workdir.rows import read_object


def compared(images: list[int]) -> Any:
    """`rebase.make_settle` whose function prints the comparison, too, and settles as it does."""
    make = rebase.make_settle

    def make_settle(
        spec: StepSpec, materials: Materials, frozen: Weights, moments: rebase.Moments | None = None
    ) -> Settle:
        settled = make(spec, materials, frozen, moments)
        quiet = materials._replace(console=Console(None))

        def tell(what: str, state: TrainState) -> None:
            found = evaluate_weights(quiet, train_state.finish(state, frozen))
            print(f"  {what}: {found.val_loss:.3f} ({found.accuracy:.3f})", flush=True)

        def compare(state: TrainState, done: int) -> TrainState:
            epoch, count = done // spec.steps_per_epoch, rebase.settling_batches
            print(f"epoch {epoch - 1}, which a run settles on {count(spec, epoch)} batches")
            tell("running", state)
            for number in images:
                most = min(number // spec.batch_size, spec.steps_per_epoch)
                rebase.settling_batches = lambda *_, most=most: most
                tell(f"{most * spec.batch_size} images", settled(state, done))
            rebase.settling_batches = count
            return settled(state, done)

        return compare

    return make_settle


def main() -> None:
    """Reads the flags and trains."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--from", dest="begun", required=True, type=Path)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--rate", required=True, type=float)
    parser.add_argument("--images", default="320,640,1000", help="comma-separated")
    options, flags = parser.parse_known_args()
    if not (options.begun / "config.json").is_file():
        parser.error(f"no run there: {options.begun}")
    data = read_object(options.begun / "config.json")["data"]
    config = load_config("folder", [f"--config.data.source={data['source']}", *flags])
    config.data.image_size = data["image_size"]
    config.init_from = str(options.begun)
    config.phases = config.phases[-1:]
    config.phases[0].lr = options.rate
    rebase.make_settle = compared([int(word) for word in options.images.split(",")])
    run.train(config, options.workdir)


if __name__ == "__main__":
    main()
