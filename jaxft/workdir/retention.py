"""Which checkpoints stay, given what each of them needs of another.

A checkpoint whose best epoch is that of an earlier one has no item `best`: its cursor names the
checkpoint that has it, `best_of`. Hard links would not do in a bucket, and a folder of its own for
`best` would be one more thing to commit, to clear and to lose. So that one damaged file does not
take every checkpoint with it, one with another `best` stays as well, where there is one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jaxft.config.settings import Settings


class Retention(NamedTuple):
    """The config's wish: the newest checkpoints, and each whose number divides by `every`."""

    newest: int = 2
    every: int = 0

    def lasting(self, step: int) -> bool:
        """Tell if a checkpoint stays for ever."""
        return self.every > 0 and step % self.every == 0


DEFAULT = Retention()


def of(settings: Settings) -> Retention:
    """Return what a config asks for."""
    return Retention(settings.checkpoint_keep, settings.checkpoint_keep_every)


@dataclass
class Preserved:
    """Orbax's policy of what stays.

    Attributes:
      retention: what the config asks for.
      back_to: the checkpoint that a change of config goes back to, 0 for none.
      best_of: a checkpoint -> the one with its best epoch, where that is another.
    """

    retention: Retention = DEFAULT
    back_to: int = 0
    best_of: dict[int, int] = field(default_factory=dict)

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Tell of each checkpoint, oldest first, if it stays."""
        kept = self.kept([one.step for one in checkpoints])
        return [one.step in kept for one in checkpoints]

    def kept(self, steps: Sequence[int]) -> set[int]:
        """Return those that stay of some checkpoints, given oldest first."""
        holders = {step: self.best_of.get(step, step) for step in steps}
        newest = steps[-self.retention.newest :]
        asked = {step for step in steps if step == self.back_to or self.retention.lasting(step)}
        kept = {*newest, *asked, *(holders[step] for step in (*newest, *asked))}
        if len(newest) > 1 and len({holders[step] for step in newest}) == 1:
            others = [step for step in steps if holders[step] == step != holders[newest[0]]]
            kept |= set(others[-1:])
        return kept
