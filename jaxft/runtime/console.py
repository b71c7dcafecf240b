"""Lines and progress bars for a person at a terminal; of several processes the first one writes."""

import io
import sys
import warnings
from importlib import import_module
from typing import TextIO

from tqdm import tqdm

from jaxft.errors import printable
from jaxft.runtime import hosts, streams
from jaxft.runtime.lines import folded


class Console:
    """Output for a person: lines always, progress bars where the output is a terminal.

    Nobody may be reading any more, as after `| head`: what comes then is dropped.

    Args:
      stream: output of the first process; None for no output at all.
      bars: the class of progress bars; None: tqdm's, where the output is a terminal.
    """

    def __init__(
        self, stream: TextIO | io.TextIOBase | None, bars: type[tqdm] | None = None
    ) -> None:
        self._stream = stream if hosts.is_first() else None
        self._bars = self._stream is not None and (bars is not None or self._stream.isatty())
        self._kind = bars or tqdm

    def say(self, text: str = "") -> None:
        """Print a line, at once; control characters in it are spelt."""
        if self._stream is not None:
            try:
                tqdm.write(printable(text), file=self._stream)
                self._stream.flush()
            except BrokenPipeError:
                streams.drop(self._stream)
                self._stream = None

    def tell(self, text: str) -> None:
        """Print lines, folded where they are too long for a terminal of the usual width."""
        self.say(folded(text))

    def bar(self, total: int, what: str, unit: str = "img", done: int = 0) -> tqdm:
        """Return a progress bar with rate and time left; invisible where there is no terminal."""
        return self._kind(
            total=total,
            initial=done,
            desc=what,
            unit=unit,
            leave=False,
            disable=not self._bars,
            dynamic_ncols=True,
            file=self._stream or sys.stdout,
        )


def for_python() -> Console:
    """Return a console for a caller from Python: stdout, with bars in a notebook, too."""
    return Console(sys.stdout, _notebook_bars())


def _notebook_bars() -> type[tqdm] | None:
    """The bars of a notebook, widgets or, without ipywidgets, text; None outside of one."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None or "IPKernelApp" not in shell.config:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # text is good enough where there is no ipywidgets
        bars: type[tqdm] = import_module("tqdm.auto").tqdm
    return bars
