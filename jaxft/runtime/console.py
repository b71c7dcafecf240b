"""Lines and progress bars for a person at a terminal; of several processes the first one writes."""

import io
import sys
from typing import TextIO

from tqdm import tqdm

from jaxft.runtime import hosts, streams
from jaxft.runtime.lines import folded


class Console:
    """Output for a person: lines always, progress bars where the output is a terminal.

    Nobody may be reading any more, as after `| head`: what comes then is dropped.

    Args:
      stream: output of the first process; None for no output at all.
    """

    def __init__(self, stream: TextIO | io.TextIOBase | None) -> None:
        self._stream = stream if hosts.is_first() else None
        self._bars = self._stream is not None and self._stream.isatty()

    def say(self, text: str = "") -> None:
        """Print a line, at once."""
        if self._stream is not None:
            try:
                tqdm.write(text, file=self._stream)
                self._stream.flush()
            except BrokenPipeError:
                streams.drop(self._stream)
                self._stream = None

    def tell(self, text: str) -> None:
        """Print lines, folded where they are too long for a terminal of the usual width."""
        self.say(folded(text))

    def bar(self, total: int, what: str, unit: str = "img", done: int = 0) -> tqdm:
        """Return a progress bar with rate and time left; invisible where there is no terminal."""
        return tqdm(
            total=total,
            initial=done,
            desc=what,
            unit=unit,
            leave=False,
            disable=not self._bars,
            dynamic_ncols=True,
            file=self._stream or sys.stdout,
        )
